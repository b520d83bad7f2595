"""A `precompiled_charsmap` from rules, without SentencePiece: a double array (Aoe, 1989) in the layout of darts-clone."""
import struct


class Node:
    def __init__(self):
        self.children, self.value = {}, None


def trie_of(rules):
    texts, root = b"", Node()
    for source, target in rules:
        node = root
        for byte in source.encode():
            node = node.children.setdefault(byte, Node())
        node.value = len(texts)
        texts += target.encode() + b"\0"
    return root, texts


def units_of(root):
    """Child c of the node with offset o stands at o ^ c; a leaf at o ^ 0."""
    units, used = {0: 0}, {0}

    def place(node, at):
        labels = sorted(node.children) + ([0] if node.value is not None else [])
        offset = 1
        while any((at ^ offset ^ label) in used for label in labels):
            offset += 1
        units[at] |= offset << 10 | (0x100 if node.value is not None else 0)
        base = at ^ offset
        used.update(base ^ label for label in labels)
        if node.value is not None:
            units[base] = node.value | 1 << 31
        for byte in sorted(node.children):
            units[base ^ byte] = byte
        for byte in sorted(node.children):
            place(node.children[byte], base ^ byte)

    place(root, 0)
    size = (max(units) // 256 + 1) * 256
    return [units.get(at, 0) for at in range(size)]


def charsmap(rules):
    root, texts = trie_of(rules)
    units = units_of(root)
    return struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + texts
