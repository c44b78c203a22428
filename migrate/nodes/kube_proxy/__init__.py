"""kube-proxy on a node: its mode, the Services it serves, the ranges of clients it lets in, its marks."""
