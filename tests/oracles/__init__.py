"""The engine against SQL: the same questions, asked of the same histories by DuckDB.

`histories` are event files and how SQL reads them, past our readers; `questions` pairs a trigger
with the query that says, from the language alone, when it fires; `test_answers` compares every
(user, time, start). The histories have client times equal to append times, so a query may
take the order of the file for the order of time; what reaches the log late is `tests.reference`'s.
"""
