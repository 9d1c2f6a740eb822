"""Texts of compiled programs, counted by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vqjax.hardware import hlo
from vqjax.training.mesh import make_mesh

TEXT = """\
HloModule jit_step, is_scheduled=true, num_partitions=8

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%all-reduce-scatter.1 (p: f32[16]) -> f32[2] {
  %p = f32[16]{0} parameter(0)
  %inner = f32[16]{0} all-reduce(%p), channel_id=7, replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add
  %zero = s32[] constant(0)
  ROOT %piece = f32[2]{0} dynamic-slice(%inner, %zero), dynamic_slice_sizes={2}
}

%body (t: (s32[], f32[8])) -> (s32[], f32[8]) {
  %t = (s32[], f32[8]{0:T(8,128)S(1)}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %x = f32[8]{0:T(8,128)S(1)} get-tuple-element(%t), index=1
  %start = (f32[8]{0}, f32[32]{0}) all-gather-start(%x), channel_id=3, replica_groups=[2,4]<=[8], dimensions={0}
  %done = f32[32]{0} all-gather-done(%start)
  %cut = f32[8]{0} slice(%done), slice={[0:8]}
  ROOT %r = (s32[], f32[8]{0}) tuple(%i, %cut)
}

%condition (t: (s32[], f32[8])) -> pred[] {
  %t = (s32[], f32[8]{0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %n = s32[]{:T(128)} constant(6)
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

%piece_one (q: bf16[4]) -> bf16[8] {
  %q = bf16[4]{0} parameter(0)
  ROOT %g = bf16[8]{0} all-gather(%q), channel_id=9, replica_groups=[4,2]<=[2,4]T(1,0), dimensions={0}
}

%piece_two (q: bf16[4]) -> bf16[8] {
  %q = bf16[4]{0} parameter(0)
  ROOT %g = bf16[8]{0} all-gather(%q), channel_id=9, replica_groups=[4,2]<=[2,4]T(1,0), dimensions={0}
}

ENTRY %main (state: f32[16], key: bf16[4]) -> f32[2] {
  %state = f32[16]{0} parameter(0)
  %key = bf16[4]{0} parameter(1)
  %init = (s32[], f32[8]{0}) tuple(%zero, %state)
  %loop = (s32[], f32[8]{0}) while(%init), condition=%condition, body=%body
  %one = bf16[8]{0} fusion(%key), kind=kLoop, calls=%piece_one
  %two = bf16[8]{0} fusion(%key), kind=kLoop, calls=%piece_two
  ROOT %out = f32[2]{0} fusion(%state), kind=kCustom, calls=%all-reduce-scatter.1
}
"""  # noqa: E501


def test_every_collective_once_and_as_often_as_it_runs():
    program = hlo.parse(TEXT)
    found = {c.kind + str(i): c for i, c in enumerate(program.collectives())}
    seen = {(c.kind, c.bytes, len(c.group), c.times) for c in found.values()}
    assert seen == {
        ("all-gather", 4 * 8 * 4, 4, 6),  # in the loop; gathered from 4 devices
        ("all-gather", 2 * 4 * 2, 2, 1),  # two pieces of one
        ("reduce-scatter", 4 * 16, 8, 1),
    }
    assert program.devices == 8 and program.unknown_loops == 0


def test_what_goes_between_slices():
    """As the TPU compiler writes it: the reduced array is sent to the host for its network."""
    sent = """
  %sum = f32[16]{0} all-reduce(%state), channel_id=2, replica_groups={{0,1,2,3}}, to_apply=%add
  %send = (f32[16]{0}, u32[], token[]) send(%sum, %token), channel_id=2, is_host_transfer=true, frontend_attributes={_xla_megascale_transfer_type="ALL_REDUCE"}
"""  # noqa: E501
    program = hlo.parse(TEXT.replace("  %init =", sent.lstrip("\n") + "  %init ="))
    found = [c for c in program.collectives() if c.kind == "all-reduce"]
    assert [(c.bytes, c.between, c.group) for c in found] == [
        (64, False, (0, 1, 2, 3)),
        (64, True, ()),
    ]


def test_a_loop_of_unknown_length_is_counted():
    text = TEXT.replace("constant(6)", "parameter(0)")
    program = hlo.parse(text)
    assert program.unknown_loops == 1 and program.times["body"] == 1
    known = 'body=%body, backend_config={"known_trip_count":{"n":"5"}}'
    assert hlo.parse(text.replace("body=%body", known)).times["body"] == 5


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("replica_groups={{0,1},{2,3}}", (0, 1)),
        ("replica_groups={}", (0, 1, 2, 3, 4, 5, 6, 7)),
        ("replica_groups=[2,4]<=[8]", (0, 1, 2, 3)),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", (0, 4)),
        ("replica_groups=mesh['a'=2,'b'=4] {'b'}, x", (0, 1, 2, 3)),
        ("replica_groups=mesh['a'=2,'b'=4] {'a'}, x", (0, 4)),
        ("replica_groups=mesh['a'=2,'b'=4] {'a','b'}", (0, 1, 2, 3, 4, 5, 6, 7)),
        ("replica_groups=mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'b'}", (0, 2)),
        ("source_target_pairs={{2,3},{3,2}}", (2, 3)),
    ],
)
def test_groups(text, group):
    assert hlo.group_of(f"channel_id=1, {text}, dimensions={{0}}", 8) == group


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("f32[2,3]{1,0:T(8,128)}", 24),
        ("(bf16[4]{0}, /*index=1*/pred[5], u32[])", 8 + 5 + 4),
        ("s4[8]", 4),
        ("f8e4m3fn[3]", 3),
        ("f32[2]{0:T(128)S(1)}", 8),
        ("token[]", 0),
    ],
)
def test_bytes_of_shapes(shape, size):
    assert hlo.shape_bytes(shape) == size
    assert hlo.shape_bytes(shape, excluded=(1,)) == (0 if "S(1)" in shape else size)


def test_bytes_moved_by_hand():
    text = """\
HloModule m

%cut (p: f32[100], i: s32[]) -> f32[10] {
  %p = f32[100]{0} parameter(0)
  %i = s32[] parameter(1)
  ROOT %s = f32[10]{0} dynamic-slice(%p, %i), dynamic_slice_sizes={10}
}

ENTRY %main (a: f32[100], i: s32[]) -> f32[10] {
  %a = f32[100]{0} parameter(0)
  %i = s32[] parameter(1)
  %b = f32[10]{0} fusion(%a, %i), kind=kLoop, calls=%cut
  %c = f32[10]{0:S(1)} exponential(%b)
  ROOT %d = f32[10]{0} add(%c, %b)
}
"""
    program = hlo.parse(text)
    # A slice of 40 bytes, its place, its result; then 40 and 40; then 40, 40 and 40.
    assert program.bytes_moved() == (40 + 4 + 40) + 80 + 120
    assert program.bytes_moved(on_chip=(1,)) == (40 + 4 + 40) + 40 + 80


def test_what_loops_keep_is_written_and_read_by_the_piece():
    text = """\
HloModule m

%slice (p: f32[10,100], i: s32[]) -> f32[1,100] {
  %p = f32[10,100]{1,0} parameter(0)
  %i = s32[] parameter(1)
  ROOT %s = f32[1,100]{1,0} dynamic-slice(%p, %i), dynamic_slice_sizes={1,100}
}

%read (x: f32[100], p: f32[10,100], i: s32[]) -> f32[100] {
  %x = f32[100]{0} parameter(0)
  %p = f32[10,100]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %row = f32[1,100]{1,0} fusion(%p, %i), kind=kLoop, calls=%slice
  %flat = f32[100]{0} bitcast(%row)
  ROOT %sum = f32[100]{0} add(%flat, %x)
}

%write (p: f32[10,100], q: f32[10,100], x: f32[100], i: s32[]) -> (f32[10,100]) {
  %p = f32[10,100]{1,0} parameter(0)
  %q = f32[10,100]{1,0} parameter(1)
  %x = f32[100]{0} parameter(2)
  %i = s32[] parameter(3)
  %y = f32[100]{0} exponential(%x)
  %row = f32[1,100]{1,0} bitcast(%y)
  %one = f32[10,100]{1,0} dynamic-update-slice(%p, %row, %i)
  %two = f32[10,100]{1,0} dynamic-update-slice(%q, %row, %i)
  %copied = f32[10,100]{1,0} bitcast(%two)
  ROOT %all = (f32[10,100]{1,0}, f32[100]{0}, f32[10,100]{1,0}) tuple(%one, %y, %copied)
}

ENTRY %main (x: f32[100], i: s32[]) -> f32[100] {
  %x = f32[100]{0} parameter(0)
  %i = s32[] parameter(1)
  %p = f32[10,100]{1,0} custom-call(), custom_call_target="AllocateBuffer"
  %kept = (f32[10,100]{1,0}, f32[100]{0}, f32[10,100]{1,0}) fusion(%p, %p, %x, %i), calls=%write
  %first = f32[10,100]{1,0} get-tuple-element(%kept), index=0
  %begun = ((f32[10,100]{1,0}), f32[2,100]{1,0:S(1)}, s32[]) slice-start(%first)
  %two = f32[2,100]{1,0:S(1)} slice-done(%begun)
  ROOT %r = f32[100]{0} fusion(%x, %first, %i), kind=kLoop, calls=%read
}
"""
    program = hlo.parse(text)
    kept = 400 + 4 + 3 * 400  # x, the place, two rows and y
    read = 400 + 400 + 4 + 400  # x, one row, its place, the sum
    assert program.bytes_moved() == kept + 2 * 800 + read
    assert program.bytes_moved(on_chip=(1,)) == kept + 800 + read


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("((f32[8]{0}), f32[32]{0}) all-gather-start(%a)", 32 + 128),
        ("(f32[8]{0}, f32[32]{0:S(1)}) all-gather-start(%a)", 32 + 128),
        ("((f32[8]{0}, f32[4]{0}), (f32[32]{0}, f32[16]{0})) all-gather-start(%a, %b)", 48 + 192),
        ("((f32[8]{0}), f32[2]{0}) reduce-scatter-start(%a)", 32 + 8),
        ("f32[8]{0} all-reduce-start(%a)", 32 + 32),
        ("(f32[8]{0}, f32[4]{0}) all-reduce-start(%a, %b)", 48 + 48),
        ("((f32[8]{0}), f32[8]{0}) all-to-all-start(%a)", 32 + 32),
        ("(f32[8]{0}, f32[8]{0}, u32[], u32[]) collective-permute-start(%a)", 32 + 32),
        ("((f32[8]{0}), f32[2]{0}, s32[]) async-start(%a), calls=%inside", 32 + 8),
    ],
)
def test_bytes_of_what_runs_beside_other_work(line, size):
    """The forms of the GPU compiler, and those with contexts behind the results."""
    text = f"""\
HloModule m

%inside (p: f32[8]) -> f32[2] {{
  %p = f32[8]{{0}} parameter(0)
  ROOT %r = f32[2]{{0}} reduce-scatter(%p), channel_id=1, replica_groups={{}}
}}

ENTRY %main (a: f32[8], b: f32[4]) -> f32[32] {{
  %a = f32[8]{{0}} parameter(0)
  %b = f32[4]{{0}} parameter(1)
  %begun = {line}
  ROOT %done = f32[32]{{0}} all-gather-done(%begun)
}}
"""
    program = hlo.parse(text)
    assert program.bytes_moved() == size
    assert program.bytes_moved(on_chip=(1,)) == size - (128 if "S(1)" in line else 0)


def test_what_is_no_program():
    with pytest.raises(ValueError, match="not the text"):
        hlo.parse("nothing")


def test_of_this_machine_s_compiler():
    """A gradient over 8 devices is reduced once; the loop's body moves its bytes every time."""
    mesh = make_mesh()
    rows = NamedSharding(mesh, PartitionSpec("data"))
    whole = NamedSharding(mesh, PartitionSpec())

    def compiled(length):
        def loss(w, x):
            return jax.lax.scan(lambda h, _: (jnp.tanh(h @ w), None), x, length=length)[0].sum()

        step = jax.jit(jax.grad(loss), in_shardings=(whole, rows), out_shardings=whole)
        args = (jax.ShapeDtypeStruct(s, np.float32) for s in ((64, 64), (16, 64)))
        return hlo.parse(step.lower(*args).compile().as_text())

    (one,) = compiled(3).collectives()
    assert (one.kind, one.bytes, one.group) == ("all-reduce", 64 * 64 * 4, tuple(range(8)))
    assert compiled(30).bytes_moved() > 5 * compiled(3).bytes_moved()
