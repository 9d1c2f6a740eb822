"""Numbers of an evaluation as people read them."""

from vqjax.cli.number_tables import number_lines
from vqjax.numbers import Number

NUMBERS = {
    "si_sdr": 5.4399, "si_sdr/first_1": -5.7048, "si_sdr/first_10": 5.0, "si_sdr/first_2": -0.5,
    "kbits_per_second": 3.42, "kbits_per_second/first_1": 0.44, "kbits_per_second/first_2": 0.9,
    "silent_clips": 0.0, "perplexity/tokens_0": 200.9, "perplexity/tokens_1": 185.1,
    "codebook_usage/tokens_0": 1.0, "own/tokens_1": 0.25, "si_sdr/opus_1.00": 6.03,
    "file_kbits_per_second/opus_1.00": 21.7,
    "clips/speaker=a\x1b": 50.0, "si_sdr/speaker=a\x1b": 1.0,
}  # fmt: skip
TABLES = """\
silent_clips        0.0000

               Bitrate  SI-SDR  Bitrate of files  Clips
                kbit/s      dB            kbit/s
1 codebook        0.44   -5.70
2 codebooks       0.90   -0.50
10 codebooks              5.00
all               3.42    5.44
opus_1.00                 6.03             21.70
speaker=a\\x1b             1.00                       50

          Perplexity  Codes in use    Mine
                                 %
tokens_0       200.9         100.0
tokens_1       185.1                0.2500"""


def test_levels_stand_in_tables():
    lines = number_lines(NUMBERS, {"own": Number("Mine")})
    assert "\n".join(lines) == TABLES


def test_numbers_without_levels_stand_alone():
    lines = number_lines({"psnr": 20.5, "a\nb": 1e-9}, {})
    assert lines == ["psnr       20.5000", "a\\nb        0.0000"]
