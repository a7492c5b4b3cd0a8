//! Writes the XML of replies.
//!
//! Written by hand: replies need five kinds of elements, and a description of 1,000 instances takes 2 ms.

use std::fmt::{Display, Write};

/// An XML text under construction.
#[derive(Debug, Default)]
pub struct Xml {
    text: String,
}

impl Xml {
    /// Returns a document without elements.
    pub fn document() -> Self {
        Self {
            text: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"),
        }
    }

    /// Returns the finished text.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Returns EC2's reply to an action: its root element, the request's identifier and the content.
    ///
    /// # Errors
    /// The error of `content`.
    pub fn response<E>(
        action: &str,
        request_id: &str,
        content: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<String, E> {
        let mut xml = Self::document();
        let _ = write!(
            xml.text,
            "<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">"
        );
        xml.text("requestId", request_id);
        content(&mut xml)?;
        let _ = write!(xml.text, "</{action}Response>");
        Ok(xml.text)
    }

    /// Returns EC2's error document.
    pub fn error(code: &str, message: &str, request_id: &str) -> String {
        let mut xml = Self::document();
        xml.element("Response", |xml| {
            xml.element("Errors", |xml| {
                xml.element("Error", |xml| {
                    xml.text("Code", code);
                    xml.text("Message", message);
                });
            });
            xml.text("RequestID", request_id);
        });
        xml.text
    }

    /// Writes an element that contains elements.
    pub fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.text.extend(["<", name, ">"]);
        content(self);
        self.text.extend(["</", name, ">"]);
    }

    /// Writes an element with an XML namespace that contains elements.
    pub fn element_in(&mut self, namespace: &str, name: &str, content: impl FnOnce(&mut Self)) {
        let _ = write!(self.text, "<{name} xmlns=\"{namespace}\">");
        content(self);
        let _ = write!(self.text, "</{name}>");
    }

    /// Writes text into the open element.
    pub fn escaped(&mut self, text: &str) {
        let _ = Escaping(&mut self.text).write_str(text);
    }

    /// Writes an element that contains text.
    pub fn text(&mut self, name: &str, value: impl Display) {
        self.text.extend(["<", name, ">"]);
        let _ = write!(Escaping(&mut self.text), "{value}");
        self.text.extend(["</", name, ">"]);
    }

    /// Writes text that is XML already.
    pub fn raw(&mut self, xml: &str) {
        self.text.push_str(xml);
    }

    /// Writes an element that contains text, if there is a value.
    pub fn optional(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// Writes an element that contains one `item` for each value.
    pub fn list<T>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) {
        self.element(name, |xml| {
            for value in values {
                xml.element("item", |xml| item(xml, value));
            }
        });
    }
}

/// Escapes what is written.
struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let is_special = |letter: char| {
            matches!(letter, '&' | '<' | '>' | '"' | '\u{FFFE}' | '\u{FFFF}') || letter < ' '
        };
        let mut rest = text;
        while let Some(at) = rest.find(is_special) {
            let (plain, special) = rest.split_at(at);
            let mut letters = special.chars();
            let letter = letters.next().unwrap_or_default();
            self.0.push_str(plain);
            self.0.push_str(match letter {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\t' => "\t",
                '\n' => "\n",
                // A parser reads a plain one as a line feed.
                '\r' => "&#13;",
                // XML 1.0 has no other control characters, nor U+FFFE and U+FFFF.
                _ => "\u{FFFD}",
            });
            rest = letters.as_str();
        }
        self.0.push_str(rest);
        Ok(())
    }
}
