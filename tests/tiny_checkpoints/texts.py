"""Text to train tokenizers on, and text to compare them by."""

from __future__ import annotations

TRAINING = [
    "The quick brown fox jumps over the lazy dog. It was the best of times, it was the worst of times.",
    "In 2023 there were 1234567 reasons, 42 answers and 3.14159 slices of pie; they're what we'll have and I'd take.",
    "def main(argv: list[str]) -> int:\n    for i in range(10):\n\t\tprint(f'{i:03d}', end='\\n')\n    return 0\n",
    "Größe, naïve café, Ærøskøbing, señor, žluťoučký kůň. Съешь же ещё этих мягких французских булок.",
    "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。こんにちは、世界。안녕하세요 세계.",
    "مرحبا بالعالم، كيف حالك اليوم؟ שלום עולם, מה שלומך? नमस्ते दुनिया, आप कैसे हैं?",
    "🙂 🙃 👍🏽 👨‍👩‍👧 ❤️ → ∞ ≠ ½ € £ ¥ © ™",
    "the cat sat on the mat, the dog sat on the log, the hen sat in the den; and so on, and so on.",
    '<html><body class="main"><p>Hello, world!</p></body></html> {\'key\': [1, 2, 3], "x": null}',
] * 3

COMPARED = [
    "Hello, world!",
    " leading space",
    "trailing space ",
    "two  spaces,   three    and more          there",
    "tabs\tand\t\ttabs",
    "lines\nand\n\nempty\n\n\nlines\n",
    "  \n  \t \n mixed",
    "windows\r\nlines",
    "They're sure we'll see what I'd've done; it's JOHN'S.",
    "1 12 123 1234 12345 3.14159 1,000,000 0x1F 2023-07-04 ½ ٣٤",
    "for (int i = 0; i < n; ++i) {\n    if (a[i] != b) { return -1; }\n}\n",
    "def f(x):\n\treturn {'a': x ** 2, \"b\": [1, 2]}  # comment",
    "Größe naïve café Ærøskøbing ŽLUŤOUČKÝ",
    "Съешь же ещё этих мягких французских булок",
    "天地玄黄，宇宙洪荒。 日月 盈昃",
    "こんにちは、世界。カタカナ 안녕하세요 세계",
    "مرحبا بالعالم، كيف حالك؟",
    "שלום עולם, מה שלומך?",
    "नमस्ते दुनिया, आप कैसे हैं?",
    "🙂🙃 👍🏽 👨‍👩‍👧 ❤️ flags 🇩🇪",
    "a!!! b??? c... (d) [e] {f} <g> #h $i %j ^k &l *m ~n `o` |p| \\q/",
    "unknown: ꙮ 𐍈 ᚠ 𝔘 \u200b zero width",
    "x" * 50,
    "",
    " ",
]
"""Runs of white space, digits, signs, code, scripts from left and from right, and what no tokenizer was trained on."""
