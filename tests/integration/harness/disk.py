# SPDX-License-Identifier: Apache-2.0
"""A small file system that a test may fill."""

import errno
import subprocess


class Disk:
    """A tmpfs of that size ("24m") on a folder; needs root."""

    def __init__(self, workspace, folder, size, mode="0711"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode={mode}", "tmpfs", folder],
                       check=True)
        self.folder = folder
        workspace.on_close(self.close)

    def fill(self):
        """Leaves no byte free."""
        with open(self.folder / "ballast", "wb", buffering=0) as ballast:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        ballast.write(b"\0" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self):
        (self.folder / "ballast").unlink(missing_ok=True)

    def close(self):
        self.free()
        subprocess.run(["umount", "--lazy", self.folder], check=True)
