"""`pixwire wire conform`: does a server, or a client, keep to PXW/1? In the spirit of h2spec (SPEC 15).

requirements   the sentences of SPEC.md by id         cases      what a case is, how one is chosen
frames         bytes, right or wrong                  judge      reads along what a server sends
peer           a raw connection                       subject    the server under test
server/        the cases for servers, by section      client/    the scenarios for clients
runner         runs them                              report     text, JSON, JUnit
cli            the command
"""
