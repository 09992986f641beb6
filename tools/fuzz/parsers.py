"""The parsers that face the network or the disk, each as a function of bytes, and what to begin from.

A parser holds when every input ends in a value or in one of edgectl's own errors: no other exception, no hang, no
memory without bound.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.errors import EdgectlError

__all__ = ["PARSERS", "Parser"]


@dataclass(frozen=True, slots=True)
class Parser:
    """`prepare` imports what is needed and gives the function of bytes; `structured` inputs are JSON."""

    prepare: Callable[[], Callable[[bytes], object]]
    seeds: Callable[[], Sequence[bytes]]
    structured: bool = True


@functools.cache
def _scratch() -> Path:
    """A folder of this process, in memory where there is one."""
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="edgectl-fuzz-", dir=shared if shared.is_dir() else None))


def _of_file(file: Path, *readers: Callable[[], object]) -> Callable[[bytes], object]:
    """A parser of a file: each reader finds the input in it, whatever those before it said."""

    def parse(data: bytes) -> object:
        file.write_bytes(data)
        for read in readers[:-1]:
            with contextlib.suppress(EdgectlError):
                read()
        return readers[-1]()

    return parse


def _manifest() -> Callable[[bytes], object]:
    from edgectl_agent.core.store.store import parse_manifest

    return parse_manifest


def _manifest_seeds() -> list[bytes]:
    from edgectl_testkit.bundles import tiny_bundle

    return [tiny_bundle(_scratch() / "bundle")[1]]


def _release() -> Callable[[bytes], object]:
    """A release whose arrays, an archive of numpy's, are the input."""
    from edgectl_agent.worker.release import read_release
    from edgectl_testkit.bundles import release_dir, tiny_bundle, tiny_program

    release = release_dir(tiny_bundle(_scratch() / "bundle")[0], _scratch() / "release")
    return _of_file(release / tiny_program().arrays, lambda: read_release(release))


def _release_seeds() -> list[bytes]:
    from edgectl_testkit.bundles import npz_bytes, tiny_arrays

    return [npz_bytes(tiny_arrays())]


def _journal() -> Callable[[bytes], object]:
    from edgectl_agent.core.deployments.journal import Record

    return lambda data: from_bytes(Record, data, what="record")


def _journal_seeds() -> list[bytes]:
    from edgectl_agent.core.deployments.journal import Record
    from edgectl_protos.domain.artifact import Digest
    from edgectl_protos.domain.deployment import Deployment, DeploymentEvent, Failure, State

    failure = Failure("parity_failed", "rmse 0.2 in action[1]", "edgectl status")
    deployment = Deployment("one", Digest("1" * 64), "policy", State.FAILED, "somebody", 1.0, 2.0, 4, failure=failure)
    return [canonical_bytes(Record(deployment, DeploymentEvent(7, "one", State.FAILED, 2.0, "detail", failure)))]


def _loop() -> Callable[[bytes], object]:
    """What a device reads of a release."""
    from edgectl_protos.domain.loop import LoopSpec

    return lambda data: from_bytes(LoopSpec, data, what="loop.json")


def _loop_seeds() -> list[bytes]:
    from edgectl_testkit.bundles import tiny_loop

    return [canonical_bytes(tiny_loop())]


def _loop_file() -> Callable[[bytes], object]:
    """What a person writes."""
    from edgectl_converters.loop_file import parse_loop

    return lambda data: parse_loop(data, what="loop.yaml")


def _loop_file_seeds() -> list[bytes]:
    from edgectl_converters.loop_file import dump_loop
    from edgectl_testkit.bundles import tiny_loop

    return [dump_loop(tiny_loop()).encode()]


def _program() -> Callable[[bytes], object]:
    from edgectl_protos.domain.program import Program
    from edgectl_protos.domain.program_checks import check_program
    from edgectl_testkit.bundles import tiny_policy

    policy = tiny_policy()
    return lambda data: check_program(policy, from_bytes(Program, data, what="program"))


def _program_seeds() -> list[bytes]:
    from edgectl_testkit.bundles import tiny_program

    return [canonical_bytes(tiny_program())]


def _processor() -> Callable[[bytes], object]:
    """A LeRobot directory whose pre-processor is the input."""
    from edgectl_converters.sources.lerobot.card import read_checkpoint
    from edgectl_testkit.lerobot_dirs import LeRobotDir

    folder = LeRobotDir().write(_scratch() / "processor")
    return _of_file(folder / "policy_preprocessor.json", lambda: read_checkpoint(folder))


def _processor_seeds() -> list[bytes]:
    from edgectl_testkit.lerobot_dirs import LeRobotDir

    return [(LeRobotDir().write(_scratch() / "seed") / "policy_preprocessor.json").read_bytes()]


def _config() -> Callable[[bytes], object]:
    """A LeRobot directory whose config.json is the input."""
    from edgectl_converters.sources.lerobot.card import read_checkpoint
    from edgectl_testkit.lerobot_dirs import LeRobotDir

    folder = LeRobotDir().write(_scratch() / "config")
    return _of_file(folder / "config.json", lambda: read_checkpoint(folder))


def _config_seeds() -> list[bytes]:
    from edgectl_testkit.lerobot_dirs import LeRobotDir, diffusion_dir

    folders = [made.write(_scratch() / f"seed-{number}") for number, made in enumerate((LeRobotDir(), diffusion_dir()))]
    return [(folder / "config.json").read_bytes() for folder in folders]


def _fleet() -> Callable[[bytes], object]:
    from edgectl_host.fleet.inventory import load_inventory

    file = _scratch() / "fleet.yaml"
    return _of_file(file, lambda: load_inventory(file))


def _fleet_seeds() -> list[bytes]:
    return [
        b"devices:\n  nuc:\n    address: unix:/run/edgectl/agent.sock\n    board: generic-x86_64\n"
        b"    labels: {site: lab}\n    runtime: onnxrt\n    scheme: fp32,vision=int8\ngroups:\n  lab: [nuc]\n"
    ]


def _safetensors() -> Callable[[bytes], object]:
    """Both readers of the header: of policies, and of language models."""
    from edgectl_converters.sources.hf.weights import read_weights
    from edgectl_converters.sources.lerobot.foreign import read_safetensors_header

    folder = _scratch() / "weights"
    folder.mkdir()
    file = folder / "model.safetensors"
    return _of_file(file, lambda: read_safetensors_header(file), lambda: read_weights(folder))


def _safetensors_seeds() -> list[bytes]:
    import numpy as np
    from safetensors.numpy import save

    return [save({"layer.weight": np.zeros((2, 3), np.float32), "layer.bias": np.zeros(2, np.float16)})]


def _onnx() -> Callable[[bytes], object]:
    """What a device looks for before a runtime opens a graph, and what a host reads of one."""
    from edgectl_converters.sources.onnx_graph import read_graph
    from edgectl_protos.codec.onnx_files import check_onnx_files

    file = _scratch() / "graph.onnx"
    return _of_file(file, lambda: check_onnx_files(file), lambda: read_graph(file))


def _onnx_seeds() -> list[bytes]:
    from edgectl_testkit.bundles import tiny_graph

    return [tiny_graph()]


def _gguf() -> Callable[[bytes], object]:
    from edgectl_protos.codec import gguf

    file = _scratch() / "model.gguf"
    return _of_file(file, lambda: gguf.read_gguf(file))


def _gguf_seeds() -> list[bytes]:
    from edgectl_testkit.language_files import gguf_bytes

    values = {"general.architecture": "qwen3", "general.quantized": True, "tokenizer.ggml.tokens": ["a", "b"]}
    return [gguf_bytes(values, {"token_embd.weight": (0, (2, 32), bytes(256)), "up": (8, (4, 64), bytes(272))})]


def _frame() -> Callable[[bytes], object]:
    """A message of a worker."""
    import io

    from edgectl_protos.worker.framing import read_frame

    return lambda data: read_frame(io.BytesIO(data))


def _frame_seeds() -> list[bytes]:
    import io

    from edgectl_protos.worker import messages
    from edgectl_protos.worker.framing import write_frame

    made = []
    for message in (messages.Probe(), messages.Load("/release", 2)):
        stream = io.BytesIO()
        write_frame(stream, message)
        made.append(stream.getvalue())
    return made


def _trust() -> Callable[[bytes], object]:
    """What comes from a host, a device or the disk about trust: each reader gets the input."""
    from edgectl_agent.core.trust.folder import Accepted, Identity
    from edgectl_agent.core.trust.tasks import CheckHost, KeyRequest
    from edgectl_agent.keys import answer
    from edgectl_host.trust.certificates import read_request
    from edgectl_protos.domain import trust
    from edgectl_protos.domain.address import parse_address
    from edgectl_protos.domain.invitation import Invitation

    documents = (trust.SignedRelease, trust.ReleaseRecord, trust.Revocations, trust.Enrolment, trust.EnrolmentRequest)

    def parse(data: bytes) -> object:
        for cls in (*documents, trust.EnrolmentAnswer, trust.AuditEntry, Accepted, Identity):
            with contextlib.suppress(EdgectlError):
                from_bytes(cls, data, what="document")
        text = data.decode(errors="surrogateescape")
        for read in (Invitation.parse, parse_address, read_request):
            with contextlib.suppress(EdgectlError):
                read(text)
        return answer(KeyRequest(CheckHost(data.hex(), data.decode(errors="replace"), "")))

    return parse


def _trust_seeds() -> list[bytes]:
    from edgectl_agent.core.trust.tasks import KeyRequest, MakeKey
    from edgectl_agent.keys import answer
    from edgectl_protos.domain import trust
    from edgectl_protos.domain.artifact import Digest
    from edgectl_protos.domain.invitation import Invitation

    signed = trust.Signed(canonical_bytes(trust.ReleaseRecord(Digest("1" * 64), 3, 1)).decode(), "00" * 64)
    enrolment = trust.Enrolment("orin", "ab" * 16, "PEM", "PEM", trust.ReleaseKey("cd" * 32, 1), 1, 2, signed)
    documents: list[object] = [
        trust.SignedRelease(signed, (signed,)),
        trust.Revocations(1, ("ab",), 1),
        trust.EnrolmentAnswer(enrolment),
        trust.EnrolmentRequest("ab", "orin", "PEM", "00"),
        trust.AuditEntry(1, 1.0, "Create", "ada", "d1", "", "admin"),
    ]
    words = [Invitation("orin", "tls:10.0.0.1:7444", "ab" * 32, bytes(16)).code, "tls:[::1]:7443"]
    words.append(getattr(answer(KeyRequest(MakeKey("orin"))).answer, "csr", ""))
    return [*map(canonical_bytes, documents), *(word.encode() for word in words)]


def _offer() -> Callable[[bytes], object]:
    """A list of chunks, as it comes and with the digest that it should end with."""
    from edgectl_protos.codec.transfer import chunk_digest, chunks_from_bytes

    def parse(data: bytes) -> object:
        with contextlib.suppress(EdgectlError):
            chunks_from_bytes(data)
        return chunks_from_bytes(data + chunk_digest(data))

    return parse


def _offer_seeds() -> list[bytes]:
    from edgectl_protos.codec.transfer import chunks_to_bytes
    from edgectl_testkit.raw_client import chunks_of

    return [chunks_to_bytes(chunks_of(bytes(size), size_bytes=1 << 14))[:-16] for size in (0, 1, 50_000)]


def _upload() -> Callable[[bytes], object]:
    """A frame, the answer to an offer, and the map of what is durable."""
    from edgectl_agent.core.store.upload import Partial
    from edgectl_protos.codec.transfer import frame_from_bytes, missing_in
    from edgectl_protos.domain.artifact import Digest
    from edgectl_testkit.raw_client import chunks_of

    partial = Partial.of(_scratch(), Digest("0" * 64))
    chunks = chunks_of(bytes(50_000), size_bytes=1 << 14)
    partial.data.write_bytes(bytes(50_000))

    def parse(data: bytes) -> object:
        partial.map.write_bytes(data)
        flags = partial.durable(chunks)
        assert flags is None or len(flags) == len(chunks)
        for read in (frame_from_bytes, lambda data: missing_in(data, 8 * len(data))):
            with contextlib.suppress(EdgectlError):
                read(data)
        return flags

    return parse


def _upload_seeds() -> list[bytes]:
    from edgectl_protos.codec.transfer import chunks_to_bytes, frame_header
    from edgectl_testkit.raw_client import chunks_of

    head = chunks_to_bytes(chunks_of(bytes(50_000), size_bytes=1 << 14))[-16:]
    return [frame_header(bytes(16), 1, 2) + b"body", head + bytes([0, 0, 0, 1, 0, 0, 0, 2])]


def _edges() -> Callable[[bytes], object]:
    """Where the tensors of a file begin and end."""
    from edgectl_converters.tensor_cuts import external_cuts, tensor_cuts

    file = _scratch() / "blob"
    return _of_file(file, lambda: tensor_cuts(file), lambda: external_cuts(file, "weights.data"))


def _edges_seeds() -> list[bytes]:
    return [*_safetensors_seeds(), *_onnx_seeds(), *_gguf_seeds()]


def _registry() -> Callable[[bytes], object]:
    from edgectl_host.fleet.registry import Registry

    registry = Registry(_scratch())
    return _of_file(registry.path, registry.read)


def _registry_seeds() -> list[bytes]:
    from edgectl_host.fleet.registry import Home, Registered

    home = Home(
        "ubuntu@orin-1", ("-p", "22"), "/opt/edgectl", "/var/lib/edgectl", "/run/edgectl/a.sock", "system", True
    )
    device = Registered("orin-1", ("tls:orin-1:7443",), "1b" * 16, "jetson-agx-orin", home, {"lab": ""}, ("onnxrt",))
    return [b'{"devices":[' + canonical_bytes(device) + b"]}"]


PARSERS: dict[str, Parser] = {
    "manifest": Parser(_manifest, _manifest_seeds),
    "release": Parser(_release, _release_seeds, structured=False),
    "journal": Parser(_journal, _journal_seeds),
    "loop": Parser(_loop, _loop_seeds),
    "loop-file": Parser(_loop_file, _loop_file_seeds, structured=False),
    "program": Parser(_program, _program_seeds),
    "processor": Parser(_processor, _processor_seeds),
    "config": Parser(_config, _config_seeds),
    "registry": Parser(_registry, _registry_seeds),
    "fleet": Parser(_fleet, _fleet_seeds, structured=False),
    "safetensors": Parser(_safetensors, _safetensors_seeds, structured=False),
    "onnx": Parser(_onnx, _onnx_seeds, structured=False),
    "gguf": Parser(_gguf, _gguf_seeds, structured=False),
    "frame": Parser(_frame, _frame_seeds, structured=False),
    "trust": Parser(_trust, _trust_seeds),
    "offer": Parser(_offer, _offer_seeds, structured=False),
    "upload": Parser(_upload, _upload_seeds, structured=False),
    "edges": Parser(_edges, _edges_seeds, structured=False),
}
