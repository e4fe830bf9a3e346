//! What gateways tell each other of the requests that they are at, as single steps: what the server does, and no more. The rules are in the file above.

use std::sync::Arc;
use std::time::Duration;

use redis::Script;

use crate::config;
use crate::shared_server::{SetupError, SharedServer};
use crate::sink::BoxFuture;
use crate::spool::Digest;

/// A gateway that was not seen for so long is gone.
pub(in crate::batch) const ALIVE: Duration = Duration::from_secs(3);
const NOT_THE_SCRIPTS: &str = "its answer is not the script's";

/// A request by its bytes and its key's name.
pub(crate) type Id = (Digest, Arc<str>);

/// What a gateway says of a request that it is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// Nothing is known yet.
    Open,
    /// It is kept.
    Kept,
    /// It is kept, and its client's connection lives on.
    Fine,
    /// It is kept, and its answer may not have arrived.
    Lost,
}

/// One step; none of it is seen half done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Says open, unless other gateways have said something, or this one that it is lost: [`Reply::Others`]. It may have taken that from another one, and have
    /// been left by its client then.
    Claim(Id),
    /// Takes what another gateway said, if it is this still, and says something instead: [`Reply::Taken`].
    Take { id: Id, from: Other, saying: Word },
    /// Says something.
    Say(Id, Word),
    /// Takes back what this gateway said, unless it is that the request is lost.
    Forget(Id),
    /// The same, but what it said to be kept is lost.
    GiveUp(Id),
    /// What another gateway said to be fine is no more than kept, until it says so again.
    Doubt(Id, Arc<str>),
    /// Asks another gateway how its request is doing.
    Ask(Id, Arc<str>),
    /// This gateway is gone.
    Leave,
}

/// What another gateway said of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Other {
    /// Its name.
    pub(super) gateway: Arc<str>,
    pub(super) word: Word,
    /// Whether it is there.
    pub(super) there: bool,
}

/// What a step brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Nothing.
    Done,
    Others(Vec<Other>),
    Taken(bool),
}

/// What one call brings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// Of each step.
    pub(super) replies: Vec<Reply>,
    /// Requests that others ask this gateway about.
    pub(super) asked: Vec<Id>,
}

/// Where gateways meet.
pub(crate) trait Store: Send {
    /// Goes some steps in order. Each call says that this gateway is there.
    ///
    /// # Errors
    /// In words. Each step may have been gone, or not.
    fn call<'a>(&'a mut self, steps: &'a [Step]) -> BoxFuture<'a, Result<Round, String>>;
}

/// A Redis or Valkey.
pub(crate) struct RedisStore {
    server: SharedServer,
    script: Script,
    ttl: Duration,
}

impl RedisStore {
    /// Nothing is connected yet. What is said of a request is kept for `ttl`.
    ///
    /// # Errors
    /// The server can never be asked with these settings.
    pub(crate) fn new(config: &config::SharedServer, ttl: Duration) -> Result<RedisStore, SetupError> {
        let server = SharedServer::new(config, "spool.shared_digests")?;
        Ok(RedisStore { server, script: Script::new(include_str!("script.lua")), ttl })
    }
}

impl Store for RedisStore {
    fn call<'a>(&'a mut self, steps: &'a [Step]) -> BoxFuture<'a, Result<Round, String>> {
        Box::pin(self.go(steps))
    }
}

impl RedisStore {
    /// What this gateway is called there.
    #[cfg(test)]
    pub(super) fn id(&self) -> &str {
        self.server.id()
    }

    async fn go(&mut self, steps: &[Step]) -> Result<Round, String> {
        let server = &mut self.server;
        let asks = |server: &SharedServer, gateway: &str| server.key(format_args!("asks:{gateway}"));
        let mut call = self.script.prepare_invoke();
        call.key(server.key("gateways")).key(asks(server, server.id()));
        call.arg(server.id()).arg(millis(ALIVE)).arg(millis(self.ttl));
        for step in steps {
            call.key(match step {
                Step::Ask(_, gateway) => asks(server, gateway),
                Step::Leave => server.key("gateways"),
                Step::Claim(id)
                | Step::Take { id, .. }
                | Step::Say(id, _)
                | Step::Forget(id)
                | Step::GiveUp(id)
                | Step::Doubt(id, _) => server.key(format_args!("digest:{}", written(id))),
            });
            match step {
                Step::Claim(_) => call.arg("claim"),
                Step::Take { from, saying, .. } => {
                    call.arg("take").arg(&*from.gateway).arg(from.word.name()).arg(saying.name())
                }
                Step::Say(_, word) => call.arg("say").arg(word.name()),
                Step::Forget(_) => call.arg("forget"),
                Step::GiveUp(_) => call.arg("give up"),
                Step::Doubt(_, gateway) => call.arg("doubt").arg(&**gateway),
                Step::Ask(id, _) => call.arg("ask").arg(written(id)),
                Step::Leave => call.arg("leave"),
            };
        }
        let answer: Vec<Vec<String>> = server.call(&call).await?;
        let (asked, answers) = answer.split_first().ok_or(NOT_THE_SCRIPTS)?;
        if answers.len() != steps.len() {
            return Err(NOT_THE_SCRIPTS.to_owned());
        }
        let replies = steps.iter().zip(answers).map(|(step, answer)| reply(step, answer)).collect::<Option<_>>();
        let asked = asked.iter().filter_map(|text| read(text)).collect();
        Ok(Round { replies: replies.ok_or(NOT_THE_SCRIPTS)?, asked })
    }
}

fn reply(step: &Step, answer: &[String]) -> Option<Reply> {
    Some(match (step, answer) {
        (Step::Claim(_), others) => {
            let (others, rest) = others.as_chunks::<3>();
            let other = |[gateway, word, there]: &[String; 3]| {
                Some(Other { gateway: gateway.as_str().into(), word: Word::of(word)?, there: there == "1" })
            };
            rest.is_empty().then(|| others.iter().map(other).collect::<Option<_>>()).flatten().map(Reply::Others)?
        }
        (Step::Take { .. }, [taken]) => Reply::Taken(taken == "1"),
        (Step::Take { .. }, _) => return None,
        _ => Reply::Done,
    })
}

impl Word {
    const ALL: [Word; 4] = [Word::Open, Word::Kept, Word::Fine, Word::Lost];

    fn name(self) -> &'static str {
        match self {
            Word::Open => "open",
            Word::Kept => "kept",
            Word::Fine => "fine",
            Word::Lost => "lost",
        }
    }

    fn of(name: &str) -> Option<Word> {
        Word::ALL.into_iter().find(|word| word.name() == name)
    }
}

/// A request as it is named there.
fn written((digest, key): &Id) -> String {
    format!("{:032x}:{key}", u128::from_be_bytes(digest.0))
}

fn read(text: &str) -> Option<Id> {
    let (digest, key) = text.split_once(':')?;
    Some((Digest(u128::from_str_radix(digest, 16).ok()?.to_be_bytes()), key.into()))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
