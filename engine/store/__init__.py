"""Where the state of the shards lives: in Redis, or in this process.

- `keys` names every key and every stored field, once.
- `functions` is the Redis Functions library: commit, claim and release, each all or nothing.
- `link.Link` is one Redis server: commands out, replies back, on one connection, uncancellable.
- `routes` finds the server that owns a shard, in one Redis or in a Redis Cluster, and retries.
- `redis.RedisStore` and `memory.MemoryStore` keep the contracts of `engine.ports` (`ShardStore`
  and `Gate`); one contract suite runs on both.
- `digest` says whether two stores hold the same shard.
"""
