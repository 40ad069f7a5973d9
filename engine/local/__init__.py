"""A real Kafka broker and a real Redis as child processes of this one.

For one machine without containers: `tripline up`, the demonstration, tests, crash tests, benches.

- `ports.free_port` hands out a port nobody listens on, outside the ephemeral range.
- `process.Child` is one process on a leash: its own group, its own log file, dead when we are.
- `service.Service` is a child that becomes ready: start, stop, kill, pause, resume, restart.
- `kafka.KafkaBroker`, `redis.RedisServer` and `redis.RedisCluster` are the services.
- `stack.LocalStack` starts one of each (or adopts addresses from the environment) and writes
  down what it started, so that `stack.stop_recorded` can stop exactly that from another command.

Linux only: the leash is PR_SET_PDEATHSIG and identities come from /proc.
"""
