"""The workspaces that `tripline init` writes.

- `workspace/` holds its files as they are written: definitions with comments and tests.
- `starter_files` (`files`) gives all of them, the JSON Schemas for editors and the made-up events
  among them; `write_starter` puts them into a folder where none of them is yet.
- `shipped` (`shipped`) is the catalogue of `triggers/catalog`; `chosen_files` picks from it.
"""
