//! Real images upon a real distribution.

use anyhow::{Context, Result};
use tare_tests::{World, capture, until};

use super::Site;

const SITE: &str = "FROM IMAGE AS write\nWORKDIR /src\nCOPY page.py .\n\
    RUN --mount=type=cache,target=/root/.cache python3 page.py > index.html\n\
    FROM IMAGE\nCOPY --from=write --chown=www-data:www-data /src/index.html /var/www/html/\n\
    RUN nginx -t && rm -rf /var/log/nginx/*\nHEALTHCHECK --interval=5s CMD test -s /var/www/html/index.html\n\
    EXPOSE 80\nCMD [\"nginx\", \"-g\", \"daemon off;\"]\n";

const SERVICE: &str = "FROM IMAGE\nARG PORT=8000\nENV PORT=${PORT} PYTHONDONTWRITEBYTECODE=1\nRUN useradd -r -u 900 app\n\
    WORKDIR /app\nCOPY --chown=app service.py ./\nUSER app\nENTRYPOINT [\"python3\", \"service.py\"]\n";

const PROGRAM: &str = r"import os, socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('0.0.0.0', int(os.environ['PORT'])))
s.listen(8)
while True:
    c, _ = s.accept()
    c.recv(4096)
    body = f'uid {os.getuid()}'.encode()
    c.sendall(b'HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n' % len(body) + body)
    c.close()
";

fn debian() -> Result<Site> {
    let world = World::new()?;
    let image = world.push_debian()?;
    world.docker(&["pull", "-q", &image])?.ok();
    Ok(Site { world, image })
}

fn get(site: &Site, name: &str, port: u16) -> Result<String> {
    let mut answer = String::new();
    let answers = until("the service to answer", || {
        let got = capture(site.world.command("curl").args(["-sf", &format!("http://127.0.0.1:{port}/")]))?;
        answer = got.out;
        Ok(got.code == 0)
    });
    answers.with_context(|| format!("{:?}", site.world.docker(&["logs", name])))?;
    Ok(answer)
}

#[test]
fn a_site_and_a_service_are_built_upon_debian_shipped_and_served() -> Result<()> {
    let site = debian()?;
    site.file("page.py", "print('<h1>' + ' '.join(['built', 'by', 'python']) + '</h1>')\n")?;
    site.built(SITE)?;
    site.world.docker(&["run", "-d", "-p", "8080:80", "--name", "site", "built"])?.ok();
    assert_eq!(get(&site, "site", 8080)?.trim(), "<h1>built by python</h1>");
    site.file("service.py", PROGRAM)?;
    site.dockerfile(SERVICE)?;
    site.build(&["--build-arg", "PORT=9000", "-t", "127.0.0.1:5000/service:1"])?.ok();
    site.world.docker(&["push", "127.0.0.1:5000/service:1"])?.ok();
    site.world.docker(&["rmi", "127.0.0.1:5000/service:1", "built"])?.ok();
    site.world
        .docker(&["run", "-d", "-p", "9090:9000", "--name", "service", "127.0.0.1:5000/service:1"])?
        .ok();
    assert_eq!(get(&site, "service", 9090)?, "uid 900");
    Ok(())
}
