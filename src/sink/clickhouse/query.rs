//! Statements other than inserts, to one server, whose failure is told apart by its code.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Uri};

use super::error::Failure;
use super::http::{Http, Parameters};

/// Longest time for a statement that is no insert.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One server to ask.
#[derive(Clone, Copy)]
pub(super) struct Query<'a> {
    http: &'a Http,
    server: &'a Uri,
    timeout: Duration,
}

impl<'a> Query<'a> {
    pub(super) fn new(http: &'a Http, server: &'a Uri) -> Query<'a> {
        Query { http, server, timeout: TIMEOUT }
    }

    /// Waits no longer than this.
    pub(super) fn within(self, timeout: Duration) -> Query<'a> {
        Query { timeout, ..self }
    }

    /// Runs a statement and reads its answer.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn run(&self, statement: &str) -> Result<Bytes, Failure> {
        let parameters = Parameters::default().with("wait_end_of_query", "1");
        let body = vec![Bytes::copy_from_slice(statement.as_bytes())];
        self.http.post(self.server, parameters, None, body, self.timeout).await
    }

    /// Runs a statement that reads a table which comes with it: Native blocks under a name and with these columns.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn run_with(
        &self,
        statement: &str,
        table: &str,
        structure: &str,
        blocks: &[&[u8]],
    ) -> Result<Bytes, Failure> {
        let parameters = Parameters::default()
            .with("wait_end_of_query", "1")
            // Replicas of a Shared table, and those that insert with a quorum, answer with all that any of them has committed.
            .with("select_sequential_consistency", "1")
            // Rows have the numbers that they have in the blocks.
            .with("max_threads", "1")
            // The blocks may have more columns than are asked for.
            .with("input_format_skip_unknown_fields", "1")
            .with(&format!("{table}_format"), "Native")
            .with(&format!("{table}_structure"), structure);
        // The data is anybody's: a boundary that cannot be guessed cannot be in it.
        let boundary = format!("{:032x}", rand::random::<u128>());
        let mut body = Vec::new();
        for (name, file, content) in
            [("query", "", [statement.as_bytes()].as_slice()), (table, "; filename=\"blocks\"", blocks)]
        {
            body.extend_from_slice(
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes(),
            );
            content.iter().for_each(|piece| body.extend_from_slice(piece));
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let content_type = HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}"))
            .map_err(|error| Failure::NotSent(error.to_string()))?;
        self.http.post(self.server, parameters, Some(content_type), vec![Bytes::from(body)], self.timeout).await
    }
}
