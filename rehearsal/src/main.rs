//! tmp
#[tokio::main(flavor="current_thread")]
async fn main() {
    let prepared = rehearsal::prepare().await.unwrap();
    let functions = rehearsal::build().await.unwrap();
    let local = rehearsal::LocalAws::start(&prepared, rehearsal::Options::default()).await.unwrap();
    eprintln!("{}", local.endpoint());
    eprintln!("{:?}", rehearsal::sockets::listening());
    let o = local.deploy(std::path::Path::new("/tmp/t/template.yaml"), functions, &[]).await.unwrap();
    eprintln!("{o:?} {:?}", local.calls().await);
}
