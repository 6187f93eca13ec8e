"""Under which address other machines reach this one."""

import fcntl
import socket
import struct

from data_prep.errors import InputError

_SIOCGIFADDR = 0x8915
LOOPBACK, LOOPBACK_INTERFACE = "127.0.0.1", "lo"


def address_of(interface: str | None, alone: bool = False) -> str:
    """The IPv4 address of `interface`; without one the host's name, or the loopback when the machine is `alone`."""
    if interface is None:
        return LOOPBACK if alone else socket.gethostname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        except OSError as error:
            raise InputError(
                f"cluster.interface: {interface} has no address on {socket.gethostname()} ({error.strerror}): "
                f"this machine has {', '.join(name for _, name in socket.if_nameindex())}"
            ) from None
    return socket.inet_ntoa(answer[20:24])
