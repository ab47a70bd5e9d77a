"""The patch bank: crops of a train split with their features, and the nearest ones to a query.

`build.build_bank` writes a bank, `bank.PatchBank` opens one, `search.PatchSearch` finds its nearest
patches, `selection` chooses one for each object of a graph, `canvas.paste_canvas` pastes them.
"""
