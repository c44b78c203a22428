"""Take a Kubernetes cluster from Azure NPM, Calico or kubenet to Cilium without a surprise at cutover."""

__version__ = "0.1.0"
