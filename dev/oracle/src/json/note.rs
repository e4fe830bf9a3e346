//! What is known to be read differently.

/// What the readers are known to read differently; `docs/decisions/0008` says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Note {
    /// `null` where a number, a boolean, an enum, bytes or an id belongs.
    Null,
    /// An integer with a point, an exponent or a needless sign.
    IntegerForm,
    /// Base64 for URLs, or without padding.
    Base64Form,
    /// An escape in an id or in base64.
    EscapedDigits,
    /// A control character in a string.
    Control,
    /// A number in an unknown field that the collector cannot step over.
    UnknownNumber,
    /// A double that is minus zero: the marshaler of the collector's reader leaves it out, which the collector's exporter does not use.
    MinusZero,
    /// An integer beyond its type.
    Beyond,
    /// Nesting past otelgate's limit.
    Deep,
    /// Something behind the document.
    Behind,
    /// A member without a name.
    NoName,
    /// The text was damaged, so that it may be no JSON.
    Damaged,
}

impl Note {
    /// Whether otelgate takes such documents where the collector may refuse them.
    pub(crate) fn is_taken_here(self) -> bool {
        matches!(
            self,
            Note::Null
                | Note::IntegerForm
                | Note::Base64Form
                | Note::EscapedDigits
                | Note::Control
                | Note::UnknownNumber
                | Note::NoName
                | Note::Deep
                | Note::Damaged
        )
    }

    /// Whether the collector may take such documents, or lose a part of them in silence, where otelgate refuses them, names a record in
    /// `partial_success`, or keeps all.
    pub(crate) fn is_taken_there(self) -> bool {
        matches!(self, Note::MinusZero | Note::Beyond | Note::Deep | Note::Behind | Note::NoName | Note::Damaged)
    }
}
