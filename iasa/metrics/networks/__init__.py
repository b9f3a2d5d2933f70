"""Networks of the proxy and the published metrics."""
