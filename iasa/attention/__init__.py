"""One attention call, many ways to run it: the reference, and backends that skip what the plan leaves out."""
