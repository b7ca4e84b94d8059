"""A machine becomes a node by a token, once; renews by its key; and is put out by revoking."""

import base64
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.conf import settings
from django.core.cache import cache
from django.db import connections
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.models import Project
from audit.models import AuditEvent
from nodes import pki
from nodes.authority import tend_certificates
from nodes.contract.errors import Conflict, Invalid
from nodes.join import ATTEMPTS, create_join_token, revoke_node
from nodes.leases import LeaseLost, claim_lease, require_lease
from nodes.link.joining import (
    Enrolled,
    NotAToken,
    TokenText,
    authorities_message,
    derive_key,
    renewal_message,
    request_proof,
)
from nodes.models import JoinToken, Node, Route
from nodes.services import edit_node
from tests.api.clients import Api, refusal
from tests.factories import make_node
from tests.node.odd import of_no_known_key

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def authority() -> Iterator[pki.Authority]:
    cache.clear()
    pki.ensure_pki(settings.CONFIG.pki_dir, uuid4())
    yield pki.load_authority(settings.CONFIG.pki_dir)
    cache.clear()


@dataclass
class Machine:
    """A machine with a token, and what it got for it."""

    token: TokenText
    key: bytes = b""
    csr: str = ""
    answer: Any = None

    def body(self, *, dialled_at: str = "", holding: UUID | None = None, **changes: object) -> dict[str, object]:
        key, csr = pki.make_request()
        self.key, self.csr = key, csr.decode()
        proved = derive_key(self.token.id, self.token.secret)
        proof = request_proof(proved, self.token.id, "", self.csr, dialled_at, holds=holding)
        if dialled_at:
            changes = {"target": dialled_at, **changes}
        if holding:
            changes = {"holds": str(holding), **changes}
        return {"token": str(self.token.id), "csr": self.csr, "proof": proof, **changes}

    def enroll(self, *, dialled_at: str = "", holding: UUID | None = None, **changes: object) -> Any:
        body = self.body(dialled_at=dialled_at, holding=holding, **changes)
        self.answer = Api().post("/api/v1/nodes/enroll", body)
        return self.answer

    @property
    def certificate(self) -> str:
        return str(self.answer.json()["certificate"])

    @property
    def identity(self) -> pki.NodeIdentity:
        found = pki.identity_of(self.certificate.encode())
        assert found
        return found

    def renew(self, *, at: float | None = None, node: UUID | None = None, key: bytes = b"", **changes: object) -> Any:
        _, csr = pki.make_request()
        node, stamp = node or self.identity.node_id, int(time.time() if at is None else at)
        signature = sign(key or self.key, renewal_message(node, stamp, csr.decode()))
        body = {
            "node": str(node), "csr": csr.decode(), "timestamp": stamp, "certificate": self.certificate,
            "signature": signature,
        }  # fmt: skip
        return Api().post("/api/v1/nodes/renew", {**body, **changes})


def sign(key: bytes, message: bytes) -> str:
    loaded = serialization.load_pem_private_key(key, None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return base64.b64encode(loaded.sign(message, ec.ECDSA(hashes.SHA256()))).decode()


def new_machine(slug: str = "gpu-01") -> Machine:
    return Machine(create_join_token(slug, SYSTEM).text)


@pytest.fixture
def machine() -> Machine:
    return new_machine()


@pytest.fixture
def joined(machine: Machine) -> Machine:
    assert machine.enroll().status_code == 201
    return machine


def audited(name: str) -> list[dict[str, Any]]:
    return list(AuditEvent.objects.filter(name=name).order_by("number").values_list("data", flat=True))


def test_a_token_makes_the_node_and_says_how_to_join(as_root: Api) -> None:
    answer = as_root.post("/api/v1/nodes/join-tokens/", {"name": "gpu-01"})
    assert answer.status_code == 201
    body = answer.json()
    text = TokenText.decode(body["token"])
    assert text.fingerprint == pki.fingerprint((settings.CONFIG.pki_dir / "ca.pem").read_bytes())
    assert body["command"] == f"agenthub node join {body['url']} --token {body['token']}"
    node = Node.objects.get(slug="gpu-01")
    assert (node.direction, body["node"]) == (Node.Direction.TUNNEL, str(node.pk))
    assert audited("node.created") and audited("join_token.created")
    assert body["token"] not in str(AuditEvent.objects.values_list("data", flat=True))


def test_only_root_makes_tokens_and_revokes(as_bob: Api, as_nobody: Api, project: object) -> None:
    node = make_node("gpu-01", direction=Node.Direction.TUNNEL)
    for path in ("/api/v1/nodes/join-tokens/", f"/api/v1/nodes/{node.pk}/revoke/"):
        assert refusal(as_bob.post(path, {"name": "gpu-01"})) == (403, "forbidden")
        assert as_nobody.post(path, {"name": "gpu-01"}).status_code == 401


@pytest.mark.parametrize("slug", ["", "main", "local", "bootstrap", "..", "a b", "a/b", "ö", "x" * 129])
def test_a_name_that_is_none_is_refused(slug: str) -> None:
    with pytest.raises(Invalid):
        create_join_token(slug, SYSTEM)


def test_a_node_that_the_hub_dials_gets_no_token() -> None:
    make_node("oslo", is_joined=False)
    with pytest.raises(Conflict):
        create_join_token("oslo", SYSTEM)


def test_a_machine_that_listens_is_dialled_and_may_join_again_to_dial(machine: Machine) -> None:
    assert machine.enroll(dialled_at="https://10.0.0.7:50051").status_code == 201
    node = Node.objects.get(slug="gpu-01")
    assert (node.direction, node.grpc_target, node.is_joined) == (Node.Direction.DIAL, "https://10.0.0.7:50051", True)
    assert machine.renew().status_code == 200
    assert new_machine().enroll().status_code == 201
    node.refresh_from_db()
    assert (node.direction, node.grpc_target) == (Node.Direction.TUNNEL, "")


@pytest.mark.parametrize("target", ["http://10.0.0.7:50051", "https://10.0.0.7", "10.0.0.7:50051", "https://a:1/x"])
def test_a_target_that_is_none_uses_nothing_up(machine: Machine, target: str) -> None:
    assert refusal(machine.enroll(dialled_at=target)) == (400, "invalid")
    assert machine.enroll().status_code == 201


def test_a_target_that_was_changed_on_the_way_is_refused(machine: Machine) -> None:
    for change in ("https://10.0.0.8:50051", ""):
        answer = machine.enroll(dialled_at="https://10.0.0.7:50051", target=change)
        assert refusal(answer) == (403, "join_token_invalid")
    assert refusal(machine.enroll(target="https://10.0.0.8:50051")) == (403, "join_token_invalid")


def test_the_hub_keeps_no_secret(machine: Machine) -> None:
    kept = JoinToken.objects.get()
    assert bytes(kept.key) == derive_key(machine.token.id, machine.token.secret) != machine.token.secret
    machine.enroll()
    kept.refresh_from_db()
    assert bytes(kept.key) == b"" and kept.used_at


def test_joining_gives_a_certificate_for_the_machines_own_key(joined: Machine, authority: pki.Authority) -> None:
    body = joined.answer.json()
    certificate = x509.load_pem_x509_certificate(joined.certificate.encode())
    certificate.verify_directly_issued_by(authority.certificate)
    node = Node.objects.get(slug="gpu-01")
    assert joined.identity == pki.NodeIdentity(node.pk, node.generation)
    own = serialization.load_pem_private_key(joined.key, None)
    assert certificate.public_key() == own.public_key()
    assert certificate.not_valid_after_utc - datetime.now(UTC) <= timedelta(hours=pki.JOINED_HOURS)
    answer = Enrolled(
        UUID(body["node"]), body["name"], body["generation"], body["certificate"], body["authority"],
        tuple(body["addresses"]),
    )  # fmt: skip
    key = derive_key(joined.token.id, joined.token.secret)
    assert body["proof"] == answer.proof(key, joined.csr)
    assert replace(answer, authority="another").proof(key, joined.csr) != body["proof"]
    assert audited("node.joined")


def test_what_else_the_request_says_is_ignored(machine: Machine) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(pki.HUB_URI)])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    csr = request.public_bytes(serialization.Encoding.PEM).decode()
    proof = request_proof(derive_key(machine.token.id, machine.token.secret), machine.token.id, "", csr)
    machine.enroll(csr=csr, proof=proof)
    certificate = x509.load_pem_x509_certificate(machine.certificate.encode())
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    shown = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert shown.get_values_for_type(x509.UniformResourceIdentifier) == [machine.identity.uri]


def test_a_machine_with_live_runs_of_another_node_is_refused_and_may_use_the_token_elsewhere(machine: Machine) -> None:
    assert refusal(machine.enroll(holding=uuid4())) == (409, "home_holds_runs")
    assert machine.enroll().status_code == 201


@pytest.mark.parametrize("dialled_at", ["", "https://10.0.0.7:50051"])
def test_a_machine_with_live_runs_of_its_own_joins_again(joined: Machine, dialled_at: str) -> None:
    assert new_machine().enroll(holding=joined.identity.node_id, dialled_at=dialled_at).status_code == 201


def test_a_machine_of_an_older_version_proves_nothing_of_its_runs(joined: Machine) -> None:
    older = new_machine()
    assert refusal(older.enroll(holds=str(uuid4()))) == (409, "home_holds_runs")
    assert older.enroll(holds=str(joined.identity.node_id)).status_code == 201


def test_whose_runs_a_machine_has_is_asked_after_its_proof(machine: Machine) -> None:
    assert refusal(machine.enroll(holding=uuid4(), proof="0" * 64)) == (403, "join_token_invalid")


@pytest.mark.parametrize("said", [None, "its node", "another"])
def test_whose_runs_a_machine_has_cannot_be_changed_on_the_way(machine: Machine, said: str | None) -> None:
    """Whoever did could have a machine join whose runs that would end, or use its token up."""
    body = machine.body(holding=uuid4())
    changed = {None: None, "its node": str(JoinToken.objects.get().node_id), "another": str(uuid4())}[said]
    sent = {**body, "holds": changed} if changed else {name: body[name] for name in body.keys() - {"holds"}}
    assert refusal(Api().post("/api/v1/nodes/enroll", sent)) == (403, "join_token_invalid")
    assert JoinToken.objects.get().used_at is None


def test_a_token_is_good_once(joined: Machine) -> None:
    assert refusal(Machine(joined.token).enroll()) == (409, "join_token_used")
    assert [data["code"] for data in audited("join_token.refused")] == ["join_token_used"]


def test_an_expired_token_is_refused(machine: Machine) -> None:
    JoinToken.objects.update(expires_at=timezone.now())
    assert refusal(machine.enroll()) == (403, "join_token_expired")
    assert audited("join_token.refused")[0]["code"] == "join_token_expired"


@pytest.mark.parametrize("changes", [{"proof": "0" * 64}, {"name": "other"}, {"token": str(uuid4())}])
def test_a_request_without_the_secret_is_refused(machine: Machine, changes: dict[str, Any]) -> None:
    assert refusal(machine.enroll(**changes)) == (403, "join_token_invalid")
    assert JoinToken.objects.get().used_at is None


def test_a_token_is_bound_to_its_node(machine: Machine) -> None:
    _, csr = pki.make_request()
    key = derive_key(machine.token.id, machine.token.secret)
    proof = request_proof(key, machine.token.id, "other", csr.decode())
    assert refusal(machine.enroll(name="other", csr=csr.decode(), proof=proof)) == (403, "join_token_invalid")


def test_a_proof_holds_for_its_request_alone(machine: Machine) -> None:
    _, another = pki.make_request()
    assert refusal(machine.enroll(csr=another.decode())) == (403, "join_token_invalid")


def test_guessing_is_slowed_down_and_who_has_a_proof_is_not(machine: Machine) -> None:
    joined = new_machine("gpu-02")
    assert joined.enroll().status_code == 201
    for _ in range(ATTEMPTS):
        assert refusal(machine.enroll(proof="0" * 64)) == (403, "join_token_invalid")
    assert refusal(machine.enroll(proof="0" * 64)) == (429, "throttled")
    assert refusal(joined.renew(key=pki.make_request()[0])) == (429, "throttled")
    assert len(audited("join_token.refused")) == ATTEMPTS
    assert (machine.enroll().status_code, joined.renew().status_code) == (201, 200)


def test_a_cache_that_is_away_limits_nobody(machine: Machine, settings: Any) -> None:
    away = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1"}
    settings.CACHES = {"default": away}
    for _ in range(ATTEMPTS + 1):
        assert refusal(machine.enroll(proof="0" * 64)) == (403, "join_token_invalid")
    assert machine.enroll().status_code == 201
    assert refusal(machine.renew(node=uuid4())) == (403, "renewal_refused")


@pytest.mark.parametrize("text", ["", "ahj_", "aht_abc", "ahj_e30", "ahj_" + "é" * 8, "ahj_W10", "ahj_" + "a" * 5000])
def test_what_is_no_token_is_said_so(text: str) -> None:
    with pytest.raises(NotAToken):
        TokenText.decode(text)


def test_a_new_machine_under_the_name_ends_the_old_ones_certificate(joined: Machine) -> None:
    second = new_machine()
    assert second.enroll().status_code == 201
    assert second.identity.node_id == joined.identity.node_id
    assert second.identity.generation > joined.identity.generation
    assert refusal(joined.renew()) == (403, "node_revoked")


def test_renewing_gives_a_certificate_for_another_key(joined: Machine) -> None:
    answer = joined.renew()
    assert answer.status_code == 200
    new = answer.json()["certificate"].encode()
    assert pki.identity_of(new) == joined.identity
    old = x509.load_pem_x509_certificate(joined.certificate.encode())
    assert x509.load_pem_x509_certificate(new).public_key() != old.public_key()
    assert audited("node.renewed")


def test_renewing_is_possible_after_expiry_for_a_while(joined: Machine, authority: pki.Authority) -> None:
    public_key = pki.requested_key(joined.csr.encode())
    for days, status in ((pki.RENEW_GRACE_DAYS - 1, 200), (pki.RENEW_GRACE_DAYS + 1, 403)):
        past = datetime.now(UTC) - timedelta(days=days + 1)
        old = pki.certify_node(authority, joined.identity, public_key, now=past, life=timedelta(days=1))
        assert joined.renew(certificate=old.decode()).status_code == status


def test_a_renewal_by_another_key_is_refused(joined: Machine) -> None:
    assert refusal(joined.renew(key=pki.make_request()[0])) == (403, "renewal_refused")


def test_a_certificate_with_a_key_of_no_known_kind_is_refused(joined: Machine) -> None:
    odd = of_no_known_key(joined.certificate.encode()).decode()
    assert refusal(joined.renew(certificate=odd)) == (403, "renewal_refused")


def test_a_node_renews_for_itself_alone(joined: Machine) -> None:
    other = new_machine("gpu-02")
    other.enroll()
    assert refusal(joined.renew(node=other.identity.node_id)) == (403, "renewal_refused")
    assert refusal(joined.renew(certificate=other.certificate)) == (403, "renewal_refused")


def test_a_certificate_of_another_authority_is_refused(joined: Machine) -> None:
    foreign = pki.certify_node(pki.make_authority(), joined.identity, pki.requested_key(joined.csr.encode()))
    assert refusal(joined.renew(certificate=foreign.decode())) == (403, "renewal_refused")


@pytest.mark.parametrize("ago", [-3600, 3600])
def test_a_renewal_of_another_hour_is_refused(joined: Machine, ago: int) -> None:
    assert refusal(joined.renew(at=time.time() - ago)) == (403, "clock_skew")


@pytest.mark.parametrize("field", ["csr", "certificate", "signature"])
def test_nonsense_is_refused_and_no_fault(joined: Machine, field: str) -> None:
    changes: dict[str, Any] = {field: "nonsense ☃"}
    assert joined.renew(**changes).status_code in (400, 403)


def test_a_request_that_is_none_leaves_the_token(machine: Machine) -> None:
    proof = request_proof(derive_key(machine.token.id, machine.token.secret), machine.token.id, "", "nonsense")
    assert refusal(machine.enroll(csr="nonsense", proof=proof)) == (400, "invalid")
    assert machine.enroll().status_code == 201


def test_a_revoked_node_renews_nothing_and_its_link_is_void(joined: Machine, as_root: Api) -> None:
    node = Node.objects.get(slug="gpu-01")
    lease = claim_lease(node.pk, "one")
    assert lease
    assert as_root.post(f"/api/v1/nodes/{node.pk}/revoke/").json()["is_enabled"] is False
    with pytest.raises(LeaseLost):
        require_lease(lease)
    assert refusal(joined.renew()) == (403, "node_revoked")
    assert audited("node.revoked")[0]["slug"] == "gpu-01"


def test_revoking_ends_the_nodes_open_tokens(machine: Machine) -> None:
    revoke_node(Node.objects.get(slug="gpu-01"), SYSTEM)
    assert refusal(machine.enroll()) == (403, "join_token_expired")


def test_a_node_that_is_revoked_while_it_joins_does_not(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    node, read = Node.objects.get(slug="gpu-01"), pki.requested_key

    def revoke_meanwhile(csr: bytes) -> ec.EllipticCurvePublicKey:
        revoke_node(node, SYSTEM)
        return read(csr)

    monkeypatch.setattr(pki, "requested_key", revoke_meanwhile)
    assert refusal(machine.enroll()) == (403, "join_token_expired")
    node.refresh_from_db()
    assert node.revoked_at and not node.is_enabled and not node.is_joined


def test_joining_ends_the_nodes_other_tokens_and_no_other_nodes() -> None:
    older, used, newer, another = new_machine(), new_machine(), new_machine(), new_machine("gpu-02")
    assert used.enroll().status_code == 201
    assert refusal(older.enroll()) == refusal(newer.enroll()) == (403, "join_token_expired")
    proof = request_proof(b"", older.token.id, "", older.csr)
    JoinToken.objects.update(expires_at=timezone.now() + timedelta(hours=1))
    assert refusal(older.enroll(csr=older.csr, proof=proof)) == (403, "join_token_expired")
    assert another.enroll().status_code == 201
    assert used.renew().status_code == 200


def test_a_revoked_node_may_join_again(joined: Machine) -> None:
    revoke_node(Node.objects.get(slug="gpu-01"), SYSTEM)
    again = new_machine()
    assert again.enroll().status_code == 201
    assert Node.objects.get(slug="gpu-01").is_enabled
    assert [data.get("is_enabled") for data in audited("node.joined")] == [None, True]
    assert again.renew().status_code == 200


def test_a_node_that_root_disabled_joins_again_and_stays_disabled(joined: Machine) -> None:
    edit_node(Node.objects.get(slug="gpu-01"), by=SYSTEM, is_enabled=False)
    again = new_machine()
    assert again.enroll().status_code == 201
    node = Node.objects.get(slug="gpu-01")
    assert (node.is_enabled, node.generation) == (False, again.identity.generation)
    assert not any("is_enabled" in data for data in audited("node.joined"))


def test_much_that_is_refused_hides_no_token_that_was_used_again(joined: Machine) -> None:
    for _ in range(ATTEMPTS + 1):
        Machine(joined.token).enroll(token=str(uuid4()))
    for _ in range(2):
        assert refusal(Machine(joined.token).enroll()) == (429, "throttled")
    assert [data["code"] for data in audited("join_token.refused")] == ["join_token_used"]


def test_much_that_is_refused_hides_no_node_that_was_put_out(joined: Machine) -> None:
    revoke_node(Node.objects.get(slug="gpu-01"), SYSTEM)
    for _ in range(ATTEMPTS + 1):
        joined.renew(key=pki.make_request()[0])
    for asked_for in (None, None, uuid4(), uuid4()):
        assert refusal(joined.renew(node=asked_for)) == (429, "throttled")
    assert [data["code"] for data in audited("node.refused")] == ["node_revoked", "renewal_refused"]


def test_the_hubs_own_node_is_not_revoked() -> None:
    with pytest.raises(Invalid):
        revoke_node(make_node("local"), SYSTEM)


def test_a_renewal_names_whom_to_trust_signed_for_this_request_alone(joined: Machine, authority: pki.Authority) -> None:
    _, csr = pki.make_request()
    stamp, node = int(time.time()), joined.identity.node_id
    body = {
        "node": str(node), "csr": csr.decode(), "timestamp": stamp, "certificate": joined.certificate,
        "signature": sign(joined.key, renewal_message(node, stamp, csr.decode())),
    }  # fmt: skip
    answer = Api().post("/api/v1/nodes/renew", body).json()
    assert answer["authorities"].encode() == authority.pem
    proof, key = base64.b64decode(answer["proof"]), authority.certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(proof, authorities_message(csr.decode(), answer["authorities"]), ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        key.verify(proof, authorities_message(joined.csr, answer["authorities"]), ec.ECDSA(hashes.SHA256()))


def test_machines_of_a_newer_version_may_say_more(machine: Machine) -> None:
    assert machine.enroll(something="new").status_code == 201
    assert machine.renew(something="new").status_code == 200


def test_a_clock_that_is_wrong_is_told_by_how_much(joined: Machine) -> None:
    error = joined.renew(at=time.time() + 3600).json()["error"]
    assert error["code"] == "clock_skew" and 3590 <= error["data"]["seconds"] <= 3600
    assert "ahead of the hub's" in error["message"] and "Synchronise" in error["message"]


def test_renewing_for_another_node_is_audited_once(joined: Machine) -> None:
    other = new_machine("gpu-02")
    other.enroll()
    for _ in range(2):
        joined.renew(node=other.identity.node_id)
    (told,) = audited("node.refused")
    assert (told["code"], told["asked_for"]) == ("renewal_refused", str(other.identity.node_id))
    assert AuditEvent.objects.get(name="node.refused").node == joined.identity.node_id


MAKERS = (partial(rsa.generate_private_key, 65537, 2048), partial(ec.generate_private_key, ec.SECP384R1()))


@pytest.mark.parametrize("make", MAKERS)
def test_a_key_of_another_kind_is_refused_and_the_token_stays(machine: Machine, make: Any) -> None:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(make(), hashes.SHA256())
    csr = request.public_bytes(serialization.Encoding.PEM).decode()
    proof = request_proof(derive_key(machine.token.id, machine.token.secret), machine.token.id, "", csr)
    assert refusal(machine.enroll(csr=csr, proof=proof)) == (400, "invalid")
    assert machine.enroll().status_code == 201


@pytest.mark.parametrize("path", ["enroll", "renew"])
def test_giant_bodies_are_refused(machine: Machine, path: str) -> None:
    body = {**machine.body(), "csr": "x" * 9_000}
    assert Api().post(f"/api/v1/nodes/{path}", body).status_code == 400
    assert Api().post(f"/api/v1/nodes/{path}", {**body, "csr": "x" * 30_000_000}).status_code == 413
    assert JoinToken.objects.get().used_at is None


def test_a_removed_nodes_token_makes_nothing(machine: Machine) -> None:
    Node.objects.filter(slug="gpu-01").update(removed_at=timezone.now(), slug="gpu-01~gone")
    assert refusal(machine.enroll()) == (403, "join_token_invalid")


def test_an_unknown_party_is_not_recorded_as_the_node(machine: Machine) -> None:
    machine.enroll(proof="0" * 64)
    assert AuditEvent.objects.get(name="join_token.refused").actor_kind == "system"


def test_no_secret_is_in_the_trail(machine: Machine) -> None:
    machine.enroll(proof="0" * 64)
    machine.enroll()
    machine.renew()
    told = str(list(AuditEvent.objects.values()))
    secret = base64.urlsafe_b64encode(machine.token.secret).decode().rstrip("=")
    for hidden in (machine.token.encode()[4:], secret, machine.token.secret.hex(), "PRIVATE KEY"):
        assert hidden not in told


@pytest.mark.django_db(transaction=True)
def test_of_many_machines_with_one_token_one_joins(machine: Machine) -> None:
    rivals = [Machine(machine.token) for _ in range(4)]
    start = threading.Barrier(len(rivals))

    def join(rival: Machine) -> int:
        try:
            start.wait(30)
            return int(rival.enroll().status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(rivals)) as pool:
        statuses = sorted(pool.map(join, rivals))
    assert statuses == [201, 409, 409, 409]
    assert Node.objects.get(slug="gpu-01").generation == 2


def test_in_an_overlap_both_authorities_count(joined: Machine, as_root: Api, as_bob: Api) -> None:
    make_node("local")
    former = pki.load_authority(settings.CONFIG.pki_dir)
    assert refusal(as_bob.post("/api/v1/nodes/authority/rotate/", {})) == (403, "forbidden")
    began = as_root.post("/api/v1/nodes/authority/rotate/", {"overlap_hours": 0}).json()
    assert (began["former"], began["waiting"]) == (pki.fingerprint(former.pem).hex(), ["gpu-01"])
    assert refusal(as_root.post("/api/v1/nodes/authority/rotate/", {})) == (409, "rotation_under_way")
    waiting = as_root.post("/api/v1/nodes/authority/retire/", {})
    assert refusal(waiting) == (409, "nodes_not_renewed") and waiting.json()["error"]["data"]["nodes"] == ["gpu-01"]

    answer = joined.renew().json()
    issuing = pki.load_authority(settings.CONFIG.pki_dir)
    assert pki.is_issued_by(x509.load_pem_x509_certificate(answer["certificate"].encode()), issuing.certificate)
    assert len(pki.trusted(answer["authorities"].encode())) == 2
    later = new_machine("gpu-02")
    assert later.enroll().status_code == 201

    trust = pki.trust_digest(answer["authorities"].encode()).hex()
    Node.objects.exclude(slug="local").update(facts={"trust": trust})  # as their next hello says
    tend_certificates()
    ended = as_root.get("/api/v1/nodes/authority/").json()
    assert (ended["former"], ended["waiting"]) == ("", [])
    assert refusal(joined.renew()) == (403, "renewal_refused")  # its old certificate is of nobody now
    assert audited("authority.rotated") and audited("authority.retired")[0]["left_behind"] == []


def test_a_token_lets_projects_use_the_node_that_joins(as_root: Api, project: Project) -> None:
    made = as_root.post("/api/v1/nodes/join-tokens/", {"name": "gpu-07", "allow_projects": ["harbour"]}, format="json")
    assert made.status_code == 201
    assert [(route.project, route.leads_to) for route in Route.objects.all()] == [(project, "node:gpu-07")]
