//! The functions that templates may call: their names and what they take.
//!
//! Source: the documentation of Go's `text/template` and of Prometheus's template functions.

/// What a function takes at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameter {
    /// Anything, without the wrapping of `.Value`.
    Any,
    /// Anything as it is.
    Raw,
    /// A `string`.
    Text,
    /// An `int`.
    Int,
    /// What `query` answers.
    Samples,
    /// One sample of it.
    Sample,
    /// A `time.Time`.
    Time,
    /// A `time.Duration`.
    Duration,
}

/// What a function or method takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signature {
    pub(super) fixed: &'static [Parameter],
    /// What every further argument must be, if there may be any.
    pub(super) variadic: Option<Parameter>,
}

macro_rules! functions {
    ($($variant:ident $name:literal ($($fixed:ident),*) $(+ $variadic:ident)?;)*) => {
        /// A function.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Function {
            $($variant,)*
        }

        impl Function {
            /// The function of that name.
            pub(super) fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// What templates call it.
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it takes.
            pub(super) fn signature(self) -> Signature {
                match self {
                    $(Self::$variant => Signature {
                        fixed: &[$(Parameter::$fixed),*],
                        variadic: functions!(@variadic $($variadic)?),
                    },)*
                }
            }
        }
    };
    (@variadic) => { None };
    (@variadic $variadic:ident) => { Some(Parameter::$variadic) };
}

functions! {
    // Go's own.
    And "and" (Raw) + Raw;
    Call "call" (Raw) + Raw;
    Equal "eq" (Raw) + Raw;
    GreaterOrEqual "ge" (Raw, Raw);
    Greater "gt" (Raw, Raw);
    Html "html" () + Any;
    Index "index" (Raw) + Raw;
    JavaScript "js" () + Any;
    LessOrEqual "le" (Raw, Raw);
    Length "len" (Raw);
    Less "lt" (Raw, Raw);
    NotEqual "ne" (Raw, Raw);
    Not "not" (Raw);
    Or "or" (Raw) + Raw;
    Print "print" () + Any;
    Printf "printf" (Text) + Any;
    Println "println" () + Any;
    Slice "slice" (Raw) + Raw;
    UrlQuery "urlquery" () + Any;
    // Prometheus's.
    Args "args" () + Any;
    ExternalUrl "externalURL" ();
    First "first" (Samples);
    GraphLink "graphLink" (Text);
    Humanize "humanize" (Any);
    Humanize1024 "humanize1024" (Any);
    HumanizeDuration "humanizeDuration" (Any);
    HumanizePercentage "humanizePercentage" (Any);
    HumanizeTimestamp "humanizeTimestamp" (Any);
    Label "label" (Text, Sample);
    Match "match" (Text, Text);
    Now "now" ();
    ParseDuration "parseDuration" (Text);
    PathPrefix "pathPrefix" ();
    Query "query" (Text);
    ReplaceAll "reReplaceAll" (Text, Text, Text);
    SafeHtml "safeHtml" (Text);
    SortByLabel "sortByLabel" (Text, Samples);
    StringValue "strvalue" (Sample);
    StripDomain "stripDomain" (Text);
    StripPort "stripPort" (Text);
    TableLink "tableLink" (Text);
    Title "title" (Text);
    ToDuration "toDuration" (Any);
    ToLower "toLower" (Text);
    ToTime "toTime" (Any);
    ToUpper "toUpper" (Text);
    UrlQueryEscape "urlQueryEscape" (Text);
    Value "value" (Sample);
}
