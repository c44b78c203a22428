"""Random clusters and policies, translated, and judged by the engines that the policies were and are written for."""
