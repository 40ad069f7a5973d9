"""Stand-in push providers: they speak the real protocols and misbehave on command.

- `fcm.FcmStandin` is FCM v1 and its OAuth token endpoint over HTTP/1.1.
- `apns.ApnsStandin` is APNs over HTTP/2 and TLS, with provider-token authentication.
- `rules.Rule` is one misbehaviour, matched by token prefix; `rules.RuleBook` picks the rule for a
  request. Rules come with the constructor or by `POST /standin/rules`.
- `journal.Journal` records each request as one JSON line, so a checker can prove that nothing was
  lost, sent twice, or sent above a cap.
- `certificates.make_material` writes the CA, server certificate and app keys both need.

`python -m engine.standins` runs both as one process. Nothing here is imported by the engine.
"""
