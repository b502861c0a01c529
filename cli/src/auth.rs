//! The file of `--auth`: who may come in.

use std::collections::HashMap;
use std::path::Path;

use keepbeat_core::server::Admission;
use keepbeat_core::wire::DeviceId;
use subtle::ConstantTimeEq;

/// The devices that may come in, with their credentials.
pub(crate) struct Devices(HashMap<DeviceId, String>);

impl Devices {
    /// Reads the file. An error names the file and the line.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let bytes = std::fs::read(path).map_err(|error| format!("{name}: {error}; give a file that can be read"))?;
        Self::parse(&bytes).map_err(|problem| format!("{name}: {problem}"))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut devices = HashMap::new();
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

    /// May it come in? The answer and its time do not tell an unknown device from wrong credentials, nor how much of the
    /// credentials was right.
    pub(crate) fn judge(&self, device: &DeviceId, credentials: &[u8]) -> Admission {
        let expected = self.0.get(device).map(String::as_bytes);
        let equal = expected.unwrap_or(credentials).ct_eq(credentials);
        if bool::from(equal) && expected.is_some() {
            Admission::Accept
        } else {
            Admission::Unauthorized("device unknown or credentials wrong".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(file: &str, device: &str, credentials: &[u8]) -> bool {
        Devices::parse(file.as_bytes()).unwrap().judge(&DeviceId::new(device).unwrap(), credentials)
            == Admission::Accept
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
