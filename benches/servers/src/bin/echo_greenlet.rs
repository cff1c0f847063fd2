//! A greenlet for each connection.

use greenlet::net::ListenOptions;
use std::io::{Read, Write};

fn main() {
    let listener = ListenOptions::new().bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        greenlet::spawn(move || {
            let mut buf = [0; 1024];
            while let Ok(n @ 1..) = (&stream).read(&mut buf) {
                if (&stream).write_all(&buf[..n]).is_err() {
                    break;
                }
            }
        });
    }
}
