//! A hundred greenlets of one thread count in Redis at once: `redis_count ADDR`. The commands and
//! the protocol are those of the redis crate, and the stream is ours.

use greenlet::net::TcpStream;
use redis::{Commands, ConnectionLike, Parser, RedisResult, Value};
use std::io::{Read, Write};

/// A connection over any stream, for all of redis' commands and pipelines.
pub struct Connection<S> {
    stream: S,
    parser: Parser,
    /// A call that failed leaves an answer behind, or half of one.
    open: bool,
}

impl<S: Read + Write> Connection<S> {
    pub fn new(stream: S) -> Self {
        let parser = Parser::new();
        Connection {
            stream,
            parser,
            open: true,
        }
    }

    fn request(&mut self, commands: &[u8], answers: usize) -> RedisResult<Vec<Value>> {
        // It stays so if this is left by an error, a kill or a timeout.
        self.open = false;
        self.stream.write_all(commands)?;
        let parser = &mut self.parser;
        let stream = &mut self.stream;
        let answers = (0..answers).map(|_| parser.parse_value(&mut *stream));
        let answers = answers.collect::<RedisResult<_>>()?;
        self.open = true;
        Ok(answers)
    }
}

impl<S: Read + Write> ConnectionLike for Connection<S> {
    fn req_packed_command(&mut self, command: &[u8]) -> RedisResult<Value> {
        let mut answers = self.request(command, 1)?;
        answers.remove(0).extract_error()
    }

    fn req_packed_commands(
        &mut self,
        commands: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let answers = self.request(commands, offset + count)?;
        Ok(answers.into_iter().skip(offset).collect())
    }

    fn get_db(&self) -> i64 {
        0
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").query::<String>(self).is_ok()
    }

    fn is_open(&self) -> bool {
        self.open
    }
}

fn main() -> RedisResult<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or("127.0.0.1:6379".to_owned());
    greenlet::scope(|s| {
        let count = |_| {
            s.spawn(|| {
                let mut redis = Connection::new(TcpStream::connect(&address)?);
                redis.incr::<_, _, u64>("greenlet:count", 1)
            })
        };
        let counting: Vec<_> = (0..100).map(count).collect();
        for greenlet in counting {
            greenlet.join().expect("it does not panic")?;
        }
        let mut redis = Connection::new(TcpStream::connect(&address)?);
        println!("{}", redis.get::<_, u64>("greenlet:count")?);
        Ok(())
    })
}
