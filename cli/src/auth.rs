//! `--auth` and `--token` of `serve`: who may come in.

use std::collections::BTreeMap;
use std::path::Path;

use keepbeat_core::server::Admission;
use keepbeat_core::wire::DeviceId;
use subtle::{Choice, ConstantTimeEq};

/// Who may come in.
pub(crate) enum Gate {
    /// The devices of a file.
    Devices(Devices),
    /// Whoever brings this token.
    Token(String),
}

impl Gate {
    /// May it come in? A `foreigner` came over WebSocket and is no keepbeat: its device is a name that we made up, and its
    /// credentials are what it said in `Authorization`. With a file, it may be any of its devices.
    pub(crate) fn judge(&self, device: &DeviceId, credentials: &[u8], foreigner: bool) -> Admission {
        let credentials = if foreigner { bearer(credentials) } else { credentials };
        let known = match self {
            Self::Devices(devices) if foreigner => devices.is_any(credentials),
            Self::Devices(devices) => devices.is_own(device, credentials),
            Self::Token(token) => token.as_bytes().ct_eq(credentials).into(),
        };
        if known {
            Admission::Accept
        } else {
            Admission::Unauthorized("device unknown or credentials wrong".to_owned())
        }
    }
}

/// The token in an `Authorization` header (RFC 6750); nothing if another scheme is in it.
fn bearer(header: &[u8]) -> &[u8] {
    match header.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
        _ => b"",
    }
}

/// The devices that may come in, with their credentials.
pub(crate) struct Devices(BTreeMap<DeviceId, String>);

impl Devices {
    /// Reads the file. An error names the file and the line.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let bytes = std::fs::read(path).map_err(|error| format!("{name}: {error}; give a file that can be read"))?;
        Self::parse(&bytes).map_err(|problem| format!("{name}: {problem}"))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut devices = BTreeMap::new();
        for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let problem = |what: &str| format!("line {}: {what}", index + 1);
            let line =
                std::str::from_utf8(line).map_err(|_| problem("it is not UTF-8; save the file as UTF-8"))?.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((device, credentials)) = line.split_once(char::is_whitespace) else {
                return Err(problem("it has no credentials; write `device-id credentials`"));
            };
            let device = DeviceId::new(device).map_err(|error| problem(&error.to_string()))?;
            let known = format!("device {device} stands further up already; remove one of the two");
            if devices.insert(device, credentials.trim_start().to_owned()).is_some() {
                return Err(problem(&known));
            }
        }
        if devices.is_empty() {
            return Err("no device is in it; write a line `device-id credentials` for each".to_owned());
        }
        Ok(Self(devices))
    }

    /// Whether they are the device's own. The answer and its time do not tell an unknown device from wrong credentials, nor
    /// how much of the credentials was right.
    fn is_own(&self, device: &DeviceId, credentials: &[u8]) -> bool {
        let expected = self.0.get(device).map(String::as_bytes);
        let equal = expected.unwrap_or(credentials).ct_eq(credentials);
        bool::from(equal) && expected.is_some()
    }

    /// Whether they are those of any device. The time does not tell of which.
    fn is_any(&self, credentials: &[u8]) -> bool {
        let mut any = Choice::from(0);
        for expected in self.0.values() {
            any |= expected.as_bytes().ct_eq(credentials);
        }
        // A line without credentials cannot be in the file, so nothing is not enough.
        any.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(file: &str, device: &str, credentials: &[u8]) -> bool {
        let gate = Gate::Devices(Devices::parse(file.as_bytes()).unwrap());
        gate.judge(&DeviceId::new(device).unwrap(), credentials, false) == Admission::Accept
    }

    #[test]
    fn a_device_gets_in_with_its_own_credentials_only() {
        let file = "# pumps\npump-7 secret of seven\r\n\n  pump-8\t\teight#8  \n";
        assert!(judge(file, "pump-7", b"secret of seven"));
        assert!(judge(file, "pump-8", b"eight#8"));
        for (device, credentials) in [
            ("pump-7", &b"eight#8"[..]),
            ("pump-7", b""),
            ("pump-7", b"secret of seve"),
            ("pump-7", b"secret of seven "),
            ("pump-9", b"secret of seven"),
            ("pump-9", b""),
            ("#", b"pumps"),
        ] {
            assert!(!judge(file, device, credentials), "{device} {credentials:?}");
        }
    }

    #[test]
    fn a_foreigner_brings_a_token_and_no_name() {
        let devices = Gate::Devices(Devices::parse(b"pump-7 seven\npump-8 eight").unwrap());
        let token = Gate::Token("seven".to_owned());
        let lets_in = |gate: &Gate, credentials: &[u8], foreigner| {
            gate.judge(&DeviceId::new("ws-1").unwrap(), credentials, foreigner) == Admission::Accept
        };
        for gate in [&devices, &token] {
            assert!(lets_in(gate, b"Bearer seven", true) && lets_in(gate, b"bearer  seven", true));
            for wrong in [&b""[..], b"Bearer ", b"Bearer", b"seven", b"Basic seven", b"Bearer nine", b"Bearer seven8"] {
                assert!(!lets_in(gate, wrong, true), "{wrong:?}");
            }
            assert!(!lets_in(gate, b"Bearer seven", false));
        }
        assert!(lets_in(&devices, b"Bearer eight", true) && !lets_in(&token, b"Bearer eight", true));
        assert!(lets_in(&token, b"seven", false) && !lets_in(&token, b"", false));
        assert!(!lets_in(&devices, b"seven", false), "it has the name of none");
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let long = format!("# x\n{} secret", "d".repeat(129));
        for (file, words) in [
            (&b"pump-7 secret\npump-8\n"[..], ["line 2:", "no credentials"]),
            (b"\n\n\xff\xfe secret", ["line 3:", "UTF-8"]),
            (b"pump-7 a\npump-7 b", ["line 2:", "pump-7 stands further up"]),
            (long.as_bytes(), ["line 2:", "at most 128"]),
            (b"# nobody\n", ["no device", "write a line"]),
        ] {
            let problem = Devices::parse(file).err().unwrap();
            assert!(words.iter().all(|word| problem.contains(word)), "{problem}");
        }
    }
}
