"""The HTTP door: the same jobs for those who cannot or will not speak PXW.

Pure translation (bytes and JSON <-> what Jobs takes and gives)  problems, origins, links, ranges, sse, fields,
                                 openai_requests, openai_answers, job_requests, openapi
The socket, and its limits                                          protocol, door
What a request may take, and who asks                               bodies, callers, desk
Handlers, one per route                                             images, job_routes, operations; app has the table
"""
