"""Certificates of an API server of our own: its authority, its own, the administrator's, a key for tokens.

Made by the `openssl` program, whichever version, in a folder that only we can read, and kept there.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from api.settings import SettingError

DAYS = 3650  # Nobody renews them: the folder outlives its use long before that.
_STEP_S = 60.0
_COMMON = "[req]\nprompt=no\ndistinguished_name=name\nstring_mask=utf8only\n"
# What Python 3.13 and Go ask of a certificate: what it is for, whose it is, who signed it.
_AUTHORITY = (
    "[ours]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
    "subjectKeyIdentifier=hash\n"
)
_SIGNED = (
    "[ours]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
    "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
)
_SERVER = "extendedKeyUsage=serverAuth\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n"
_CLIENT = "extendedKeyUsage=clientAuth\n"


@dataclass(frozen=True, slots=True)
class Certificates:
    """The files, in PEM."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def server(self) -> tuple[Path, Path]:
        """Certificate and key, for 127.0.0.1 and localhost."""
        return self.folder / "server.crt", self.folder / "server.key"

    @property
    def admin(self) -> tuple[Path, Path]:
        """Certificate and key of a user whom nothing is refused (group system:masters)."""
        return self.folder / "admin.crt", self.folder / "admin.key"

    @property
    def service_accounts(self) -> tuple[Path, Path]:
        """Public and private key that tokens of service accounts are checked and signed with."""
        return self.folder / "service-accounts.pub", self.folder / "service-accounts.key"

    @classmethod
    def kept_in(cls, folder: Path) -> Self:
        """Those of this folder, made first where it is not there. Raises SettingError."""
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix=".pki-", dir=folder.parent) as fresh:  # 0700.
                cls(Path(fresh) / "pki")._make()
                (Path(fresh) / "pki").rename(folder)  # Complete, or not there.
        return cls(folder)

    def _make(self) -> None:
        self.folder.mkdir(mode=0o700)
        self._sign("ca", "CN=agent-pool", _AUTHORITY, ("-x509", "-days", str(DAYS)))
        self._certify("server", "CN=kube-apiserver", _SIGNED + _SERVER)
        self._certify("admin", "CN=agent-pool-admin\nO=system:masters", _SIGNED + _CLIENT)
        public, private = self.service_accounts
        self._key(private)
        self._openssl("ec", "-in", str(private), "-pubout", "-out", str(public))

    def _certify(self, name: str, subject: str, extensions: str) -> None:
        """A certificate that our authority signed."""
        request = self._sign(name, subject, extensions)
        config = str(self.folder / f"{name}.cnf")
        authority = ("-CA", str(self.ca), "-CAkey", str(self.folder / "ca.key"))
        serial = f"0x{os.urandom(15).hex()}"
        self._openssl(
            *("x509", "-req", "-sha256", "-days", str(DAYS), "-set_serial", serial, *authority),
            *("-in", str(request), "-extfile", config, "-extensions", "ours"),
            *("-out", str(self.folder / f"{name}.crt")),
        )
        request.unlink()

    def _sign(self, name: str, subject: str, extensions: str, how: Sequence[str] = ()) -> Path:
        """A key, and a request for a certificate; with -x509 the certificate, signed by that key."""
        key, config = self.folder / f"{name}.key", self.folder / f"{name}.cnf"
        made = self.folder / (f"{name}.crt" if how else f"{name}.csr")
        self._key(key)
        which = "x509_extensions=ours\n" if how else ""
        config.write_text(f"{_COMMON}{which}[name]\n{subject}\n{extensions}")
        words = ("req", "-new", "-sha256", "-config", str(config), "-key", str(key))
        self._openssl(*words, *how, "-out", str(made))
        return made

    def _key(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path))

    def _openssl(self, *words: str) -> None:
        program = shutil.which("openssl")
        if program is None:
            problem = "needs the program openssl, which is not on the PATH: install it"
            raise SettingError("--records kubernetes", problem)
        done = subprocess.run(  # noqa: S603
            [program, *words], cwd=self.folder, capture_output=True, timeout=_STEP_S
        )
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().rsplit("\n", 1)[-1]
            raise SettingError("--state", f"openssl {words[0]} failed there ({said})")
