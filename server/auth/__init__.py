"""Who may come in: tokens, the keys that prove them, the policies that give roles, and the door where it is asked.

`tokens` verifies a bearer token, `keys` finds the key that signed it, `policies` turns its groups into roles,
`door` does so for each request. `docs/identity.md` tells the whole story.
"""
