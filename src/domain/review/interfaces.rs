//! How much an interface allows: the one table of classes (admin-api.md 1.3).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::ident::IdentError;
use crate::domain::snap::is_connection;

/// The name of an interface: lower-case words joined by single dashes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interface(Box<str>);

impl Interface {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Interface {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        if is_connection(text) {
            Ok(Self(text.into()))
        } else {
            Err(IdentError::new(
                "interface (lower-case words joined by dashes)",
                text,
            ))
        }
    }
}

impl TryFrom<String> for Interface {
    type Error = IdentError;

    fn try_from(text: String) -> Result<Self, IdentError> {
        text.parse()
    }
}

impl From<Interface> for String {
    fn from(interface: Interface) -> Self {
        interface.0.into()
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What a plug of an interface needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// Nothing: devices connect it by themselves, or a person may.
    A,
    /// One reviewer, to be connected without a person. Without that it can be installed, and connected by hand.
    B,
    /// Two persons, even to be installed.
    C,
}

/// Class C: devices refuse to install a snap with such a plug unless its declaration allows it.
const C: &[&str] = &[
    "auditd-support",
    "block-devices",
    "checkbox-support",
    "classic-support",
    "desktop-launch",
    "devlxd",
    "dm-crypt",
    "dm-multipath",
    "docker-support",
    "firmware-updater-support",
    "gpio-control",
    "greengrass-support",
    "ion-memory-control",
    "iscsi-initiator",
    "kernel-firmware-control",
    "kernel-module-control",
    "kernel-module-load",
    "kernel-sched-ext-control",
    "kubernetes-support",
    "lxd-support",
    "microceph-support",
    "microstack-support",
    "mount-control",
    "multipass-support",
    "nomad-support",
    "nvidia-drivers-support",
    "nvme-control",
    "packagekit-control",
    "personal-files",
    "polkit",
    "polkit-agent",
    "remoteproc",
    "ros-snapd-support",
    "scsi-generic",
    "sd-control",
    "shutdown",
    "snap-fde-control",
    "snap-interfaces-requests-control",
    "snap-refresh-control",
    "snap-refresh-observe",
    "snap-themes-control",
    "snapd-control",
    "steam-support",
    "system-files",
    "tee",
    "ubuntu-pro-control",
    "uinput",
    "unity8",
    "userns",
    "xdg-portal-permission-store",
    "xilinx-dma",
];

/// Class B, as far as the public list of supported interfaces says that devices do not connect it by themselves.
const B: &[&str] = &[
    "account-control",
    "accounts-service",
    "acrn-support",
    "adb-support",
    "allegro-vcu",
    "alsa",
    "appstream-metadata",
    "audio-record",
    "autopilot-introspection",
    "avahi-control",
    "avahi-observe",
    "bluetooth-control",
    "bluez",
    "bool-file",
    "broadcom-asic-control",
    "calendar-service",
    "camera",
    "can-bus",
    "cifs-mount",
    "confdb",
    "contacts-service",
    "cpu-control",
    "cups-control",
    "custom-device",
    "daemon-notify",
    "dbus",
    "dcdbas-control",
    "device-buttons",
    "display-control",
    "docker",
    "dsp",
    "dvb",
    "empty",
    "firewall-control",
    "fpga",
    "framebuffer",
    "fuse-support",
    "fwupd",
    "gconf",
    "gpg-keys",
    "gpg-public-keys",
    "gpio",
    "gpio-chardev",
    "gpio-memory-control",
    "hardware-observe",
    "hardware-random-control",
    "hardware-random-observe",
    "hidraw",
    "hostname-control",
    "hugepages-control",
    "i2c",
    "iio",
    "intel-mei",
    "intel-qat",
    "io-ports-control",
    "jack1",
    "joystick",
    "juju-client-observe",
    "kerberos-tickets",
    "kernel-crypto-api",
    "kernel-module-observe",
    "kvm",
    "libvirt",
    "locale-control",
    "location-control",
    "location-observe",
    "log-observe",
    "login-session-control",
    "login-session-observe",
    "lxd",
    "maliit",
    "media-control",
    "media-hub",
    "mediatek-accel",
    "microceph",
    "microovn",
    "mir",
    "modem-manager",
    "mount-observe",
    "netlink-audit",
    "netlink-connector",
    "netlink-driver",
    "network-control",
    "network-manager",
    "network-manager-observe",
    "network-observe",
    "network-setup-control",
    "network-setup-observe",
    "nfs-mount",
    "ofono",
    "online-accounts-service",
    "openvswitch",
    "openvswitch-support",
    "password-manager-service",
    "pcscd",
    "physical-memory-control",
    "physical-memory-observe",
    "pkcs11",
    "posix-mq",
    "power-control",
    "ppp",
    "process-control",
    "ptp",
    "pulseaudio",
    "pwm",
    "qualcomm-ipc-router",
    "raw-input",
    "raw-usb",
    "raw-volume",
    "realsense",
    "removable-media",
    "ros-opt-data",
    "screencast-legacy",
    "serial-port",
    "shared-memory",
    "spi",
    "ssh-keys",
    "ssh-public-keys",
    "storage-framework-service",
    "system-backup",
    "system-observe",
    "system-packages-doc",
    "system-source-code",
    "system-trace",
    "thumbnailer-service",
    "time-control",
    "timeserver-control",
    "timezone-control",
    "tpm",
    "u2f-devices",
    "ubuntu-download-manager",
    "udisks2",
    "uhid",
    "uio",
    "unity8-calendar",
    "unity8-contacts",
    "usb-gadget",
    "vcio",
];

/// Slots that an application may have without a grant: they open nothing but itself.
const FREE_SLOTS: &[&str] = &["content", "mpris"];

/// The class of an interface. One that no list names is class A: devices decide by the rules they were built with.
pub fn class(interface: &Interface) -> Class {
    let among = |list: &[&str]| list.contains(&interface.as_str());
    if among(C) {
        Class::C
    } else if among(B) {
        Class::B
    } else {
        Class::A
    }
}

/// Whether an application may offer a slot of this interface without a grant.
pub fn slot_is_free(interface: &Interface) -> bool {
    FREE_SLOTS.contains(&interface.as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_interface_has_one_class() {
        let all: Vec<&str> = C.iter().chain(B).copied().collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        for list in [C, B] {
            assert!(list.is_sorted(), "{list:?}");
            for name in list {
                assert!(name.parse::<Interface>().is_ok(), "{name}");
            }
        }
        assert_eq!(C.len(), 51, "admin-api.md 1.3");
    }

    #[test]
    fn classes_are_looked_up() {
        let of = |name: &str| class(&name.parse().unwrap());
        assert_eq!((of("snapd-control"), of("camera")), (Class::C, Class::B));
        assert_eq!((of("network"), of("something-new")), (Class::A, Class::A));
        for bad in ["", "Snapd", "a--b", "-a", "a b", "1a"] {
            assert!(bad.parse::<Interface>().is_err(), "{bad}");
        }
    }
}
