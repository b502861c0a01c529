//! What a change of the interfaces means. Pure.

use std::net::{IpAddr, Ipv6Addr};

use keepbeat_core::reconnect::Hint;
use netwatcher::Update;

/// The hint that follows from a change. The initial state is no change.
pub(super) fn hint(update: &Update) -> Option<Hint> {
    let changed = || update.addrs_added().chain(update.addrs_removed()).any(|(_, record)| is_usable(record.ip));
    if update.is_initial || !changed() {
        return None;
    }
    Some(if is_down(update) { Hint::NetworkDown } else { Hint::NetworkUp })
}

/// Whether no interface has an address that leads out of this machine and off its cables.
#[expect(clippy::disallowed_methods, reason = "whether there is any does not depend on the order")]
pub(super) fn is_down(update: &Update) -> bool {
    !update.interfaces.values().flat_map(|interface| &interface.ips).any(|record| is_usable(record.ip))
}

/// Neither loopback, nor link-local (RFC 3927, RFC 4291 section 2.5.6), nor nobody's.
pub(super) fn is_usable(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_link_local() || ip.is_unspecified()),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unicast_link_local() || ip == Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use netwatcher::{Interface, InterfaceDiff, IpRecord, UpdateDiff};

    use super::*;

    const LO: &[&str] = &["127.0.0.1", "::1"];
    const LINK_LOCAL: &[&str] = &["fe80::1", "169.254.7.7"];
    const HOME: &[&str] = &["192.0.2.7"];
    const BOTH: &[&str] = &["192.0.2.7", "2001:db8::7"];

    type Interfaces<'a> = &'a [(u32, &'a [&'a str])];

    fn records(ips: &[&str]) -> Vec<IpRecord> {
        ips.iter().map(|ip| IpRecord { ip: ip.parse().unwrap(), prefix_len: 24 }).collect()
    }

    fn interface(index: u32, ips: &[&str]) -> Interface {
        Interface { index, name: format!("if{index}"), hw_addr: String::new(), ips: records(ips) }
    }

    fn map(interfaces: Interfaces<'_>) -> HashMap<u32, Interface> {
        interfaces.iter().map(|(index, ips)| (*index, interface(*index, ips))).collect()
    }

    fn find<'a>(interfaces: Interfaces<'a>, index: u32) -> Option<&'a [&'a str]> {
        interfaces.iter().find(|(other, _)| *other == index).map(|(_, ips)| *ips)
    }

    fn missing(from: Interfaces<'_>, of: Interfaces<'_>) -> HashMap<u32, Interface> {
        of.iter().filter(|(i, _)| find(from, *i).is_none()).map(|(i, ips)| (*i, interface(*i, ips))).collect()
    }

    /// The update that the watcher makes of the step from one state to the next.
    fn update(before: Interfaces<'_>, after: Interfaces<'_>) -> Update {
        let mut diff =
            UpdateDiff { added: missing(before, after), removed: missing(after, before), ..Default::default() };
        for (index, new) in after {
            let Some(old) = find(before, *index).filter(|old| old != new) else { continue };
            let without =
                |from: &[&str], ips: &[&str]| records(from).into_iter().filter(|r| !records(ips).contains(r)).collect();
            let change = InterfaceDiff {
                addrs_added: without(new, old),
                addrs_removed: without(old, new),
                ..InterfaceDiff::default()
            };
            diff.modified.insert(*index, change);
        }
        Update { is_initial: false, interfaces: map(after), diff }
    }

    #[test]
    fn every_step_gives_its_hint() {
        let (up, down) = (Some(Hint::NetworkUp), Some(Hint::NetworkDown));
        let steps: [(&str, Interfaces<'_>, Interfaces<'_>, Option<Hint>); 16] = [
            ("loopback comes", &[], &[(1, LO)], None),
            ("an address on loopback comes", &[(1, &["127.0.0.1"])], &[(1, LO)], None),
            ("loopback goes", &[(1, LO)], &[], None),
            ("an interface without an address comes", &[(1, LO)], &[(1, LO), (2, &[])], None),
            ("a link-local address comes", &[(1, LO)], &[(1, LO), (2, LINK_LOCAL)], None),
            ("a link-local address goes", &[(1, LO), (2, LINK_LOCAL)], &[(1, LO), (2, &[])], None),
            ("a link-local one goes, others stay", &[(2, HOME), (3, LINK_LOCAL)], &[(2, HOME)], None),
            ("an interface with an address comes", &[(1, LO)], &[(1, LO), (2, HOME)], up),
            ("an address comes", &[(2, &[])], &[(2, HOME)], up),
            ("another address comes", &[(2, HOME)], &[(2, BOTH)], up),
            ("one of two addresses goes", &[(2, BOTH)], &[(2, HOME)], up),
            ("one of two interfaces goes", &[(2, HOME), (3, BOTH)], &[(2, HOME)], up),
            ("an address is exchanged", &[(2, HOME)], &[(2, &["198.51.100.7"])], up),
            ("an interface is made anew", &[(2, HOME)], &[(3, HOME)], up),
            ("the last address goes", &[(1, LO), (2, HOME)], &[(1, LO), (2, LINK_LOCAL)], down),
            ("the last interface goes", &[(1, LO), (2, HOME)], &[(1, LO)], down),
        ];
        for (name, before, after, expected) in steps {
            assert_eq!(hint(&update(before, after)), expected, "{name}");
        }
    }

    #[test]
    fn a_new_name_or_hardware_address_is_no_change() {
        let mut renamed = update(&[(2, HOME)], &[(2, HOME)]);
        let change = InterfaceDiff { name_changed: true, hw_addr_changed: true, ..InterfaceDiff::default() };
        renamed.diff.modified.insert(2, change);
        assert_eq!(hint(&renamed), None);
    }

    #[test]
    fn the_initial_state_is_no_change_but_tells_whether_there_is_a_network() {
        let cases: [(Interfaces<'_>, bool); 4] =
            [(&[], true), (&[(1, LO)], true), (&[(1, LO), (2, LINK_LOCAL)], true), (&[(1, LO), (2, HOME)], false)];
        for (interfaces, down) in cases {
            let initial = Update { is_initial: true, ..update(&[], interfaces) };
            assert_eq!((hint(&initial), is_down(&initial)), (None, down), "{interfaces:?}");
        }
    }
}
