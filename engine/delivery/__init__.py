"""Delivery: from admitted messages to outcomes in the log, each sent at most once.

Read it in this order:

- `lanes`: the send queue: four lanes for each provider, drained by weight, within bounded slots.
- `offsets`: which offset may be committed when deliveries end out of order.
- `intake`: one consumer for each lane and one for the re-queue; pauses instead of not polling.
- `fences`: what the store must have applied before a delivery may be claimed: it may have been
  rolled back.
- `dispatcher`: the loop: take, claim at the gate together, render, send, write what became of it.
- `attempt`: pure: from the gate's verdict and the providers' answers to an end or a re-queue.
- `render`: the texts of the deciding revision with the delivery's values.
- `providers`: which sender a device belongs to, and its `breaker`; `senders` talk to FCM and APNs.
- `outcomes`: the records a delivery ends in, written in batches; their acknowledgement is what
  finishes an offset.
- `worker`: the composition root.
"""
