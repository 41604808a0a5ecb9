"""Writes the events of an ntuple with ROOT as other people's programs do: run by a Python that has ROOT.

Called with a file of ours, a directory, and the forms in which to write it there: one file each, named after the form.
"""

import sys
from array import array
from pathlib import Path

import ROOT

# Values of a fixed-size array, and ROOT's compression settings (algorithm * 100 + level).
FIXED = 16
COMPRESSION = {"zlib": 101, "lzma": 204, "lz4": 404, "zstd": 505, "none": 0}
CODES = {"Char_t": ("B", "b", "char"), "Short_t": ("S", "h", "short"), "Int_t": ("I", "i", "int"),
         "Long64_t": ("L", "q", "long"), "Float_t": ("F", "f", "float"), "Double_t": ("D", "d", "double")}  # fmt: skip


class Source:
    """The events of a file, entry by entry, in buffers."""

    def __init__(self, path):
        self.file = ROOT.TFile(path)
        self.tree = self.file.Get("Events")
        self.columns = {}
        for leaf in self.tree.GetListOfLeaves():
            code, kind, cpp = CODES[leaf.GetTypeName()]
            counter = leaf.GetLeafCount().GetName() if leaf.GetLeafCount() else ""
            buffer = array(kind, [0] * (FIXED if counter else 1))
            self.tree.GetBranch(leaf.GetName()).SetAddress(buffer)
            self.columns[leaf.GetName()] = (code, cpp, counter, buffer)

    def entries(self):
        for entry in range(self.tree.GetEntries()):
            self.tree.GetEntry(entry)
            yield entry


def branch(source, tree, name, form, kept):
    """Add a branch to a tree as the form has it; what is no buffer of the source is returned with what fills it."""
    code, cpp, counter, buffer = source.columns[name]
    if form == "vector" and counter:
        values = ROOT.std.vector[cpp]()
        tree.Branch(name, values)
        return [(lambda: values.assign(buffer[: source.columns[counter][3][0]]))]
    size = "" if not counter else f"[{FIXED}]" if form == "fixed" else f"[{counter}]"
    fill = []
    if form == "double32" and code == "F":
        floats, buffer, code = buffer, array("d", [0.0] * len(buffer)), "d"
        fill = [lambda: buffer.__setitem__(slice(None), array("d", floats))]
    elif form == "float16" and code == "F":
        code = "f"
    kept += [buffer, tree.Branch(name, buffer, f"{name}{size}/{code}")]
    return fill


def write(source, path, form):
    file = ROOT.TFile(str(path), "recreate", "", COMPRESSION.get(form, 101))
    directory = file.mkdir("sub") if form == "directory" else file
    directory.cd()
    tree = ROOT.TTree("Events", "of another program")
    friend = ROOT.TTree("Tracks", "of tracks") if form == "friend" else tree
    fill, kept = [], []
    for name in source.columns:
        into = friend if name.partition("_")[0] in ("nTrack", "Track") else tree
        fill += branch(source, into, name, form, kept)
    for entry in source.entries():
        for copy in fill:
            copy()
        if form == "empty":
            break
        tree.Fill()
        if friend is not tree:
            friend.Fill()
        if form == "cycles" and entry == 100:
            directory.WriteTObject(tree)
    if friend is not tree:
        tree.AddFriend(friend)
        friend.Write()
    tree.Write()
    file.Close()


def write_rntuple(source, path):
    """Write an RNTuple, as ROOT's own copy of the tree."""
    options = ROOT.RDF.RSnapshotOptions()
    options.fOutputFormat = ROOT.RDF.ESnapshotOutputFormat.kRNTuple
    names = [str(leaf.GetName()) for leaf in source.tree.GetListOfLeaves()]
    ROOT.RDataFrame("Events", source.file.GetName()).Snapshot("Events", str(path), names, options)


if __name__ == "__main__":
    of = Source(sys.argv[1])
    for name in sys.argv[3:]:
        target = Path(sys.argv[2]) / f"{name}.root"
        write_rntuple(of, target) if name == "rntuple" else write(of, target, name)
