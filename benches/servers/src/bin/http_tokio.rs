//! tokio's current_thread runtime, a task for each connection.

#[path = "../http.rs"]
mod http;
#[path = "../listen.rs"]
mod listen;

use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (Vec::new(), Vec::new());
    loop {
        let mut buf = [0; 2048];
        let n = stream.read(&mut buf).await?;
        input.extend_from_slice(&buf[..n]);
        if n == 0 || !http::answer(&mut input, &mut output) {
            return Ok(());
        }
        stream.write_all(&output).await?;
        output.clear();
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listen::listen()).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move { drop(serve(stream).await) });
        }
    });
}
