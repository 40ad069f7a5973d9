"""The command line: one file for each verb, found by the table in `main`.

`main` only knows names and one-line helps; a verb's file, and with it Kafka, Redis or Faust, is
imported when the verb is called. `common` holds what verbs share: exit codes, output formats,
tables, settings, errors. Data goes to stdout, talk to stderr.
"""
