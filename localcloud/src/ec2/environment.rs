//! User data that sets environment variables of an instance. Nothing in it is run, expanded or included.
//!
//! A line is `NAME=VALUE` with a literal value. One pair of quotation marks around the whole value is removed. Empty lines
//! and lines that begin with `#` are skipped.

use std::collections::BTreeMap;

/// Returns the variables, and the numbers of the lines that set none: they are no assignments, or the variable's name has
/// none of the prefixes.
pub fn read(user_data: &[u8], prefixes: &[String]) -> (BTreeMap<String, String>, Vec<usize>) {
    let (mut variables, mut refused) = (BTreeMap::new(), Vec::new());
    for (line, number) in user_data.split(|byte| *byte == b'\n').zip(1..) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() || line.starts_with(b"#") {
            continue;
        }
        match assignment(line, prefixes) {
            Some((name, value)) => {
                variables.insert(name.to_owned(), value.to_owned());
            }
            None => refused.push(number),
        }
    }
    (variables, refused)
}

fn assignment<'a>(line: &'a [u8], prefixes: &[String]) -> Option<(&'a str, &'a str)> {
    let (name, value) = std::str::from_utf8(line).ok()?.split_once('=')?;
    let is_name = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let may_be_set = prefixes.iter().any(|prefix| name.starts_with(prefix));
    let value = ['\'', '"']
        .into_iter()
        .find_map(|mark| value.strip_prefix(mark)?.strip_suffix(mark))
        .unwrap_or(value);
    (is_name && may_be_set && !value.contains('\0')).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes() -> Vec<String> {
        ["MUSTER_", "AWS_"].map(str::to_owned).to_vec()
    }

    #[test]
    fn user_data_is_read_as_assignments_with_literal_values() {
        let text = "# a comment\n\nMUSTER_A=1\r\nMUSTER_B='it's $HOME; $(touch /tmp/x) `id`'\nAWS_C=\"a=b\"\nMUSTER_D=\n\
            MUSTER_E='\nMUSTER_A=2";
        let (variables, refused) = read(text.as_bytes(), &prefixes());
        let expected = [
            ("AWS_C", "a=b"),
            ("MUSTER_A", "2"),
            ("MUSTER_B", "it's $HOME; $(touch /tmp/x) `id`"),
            ("MUSTER_D", ""),
            ("MUSTER_E", "'"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(variables, BTreeMap::from(expected));
        assert_eq!(refused, [0; 0]);
    }

    #[test]
    fn a_line_that_assigns_no_allowed_variable_is_refused() {
        let lines: [&[u8]; 10] = [
            b"touch /tmp/x",
            b"export MUSTER_A=1",
            b" MUSTER_A=1",
            b"MUSTER_A =1",
            b"MUSTER_A;id=1",
            b"PATH=/tmp",
            b"LD_PRELOAD=/tmp/x.so",
            b"=1",
            b"MUSTER_A=a\0b",
            b"MUSTER_A=\xff",
        ];
        for line in lines {
            let (variables, refused) = read(line, &prefixes());
            assert_eq!((variables.len(), refused), (0, vec![1]), "{line:?}");
        }
        let (variables, refused) = read(b"MUSTER_A=1", &[]);
        assert_eq!((variables.len(), refused), (0, vec![1]));
    }
}
