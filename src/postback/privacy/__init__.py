"""Privacy: erasing a person, giving out what is stored of one, keeping sealed data.

Here `erasures` are what was asked for, `erasing` is the walk that does it, `people` says whom an identifier means,
`rounds` and `posts` what else is theirs, `receipt` signs what was done; `counting` and `exporting` walk and only read;
`upkeep` brings sealed data under the newest key, and keeps it no longer than it may be kept.
"""
