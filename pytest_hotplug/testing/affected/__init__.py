"""Which tests a change affects: what each test was seen to use, kept over runs, compared with what lies on disk.

From the bottom up: `first_party` says which files count, `blocks` cuts a source into what can change
by itself, `facts` is what one test used. `hearing` and `entered` notice it, `closure` adds what imports
bring along, `recorder` credits it to tests. `contents` is the disk now, `map` and `storage` what is
known, `select` the answer. `run` makes an ordinary pytest run of it. Nothing here is imported by a run
that doesn't ask for it.
"""
