"""Links in an output, and where they lead."""

from __future__ import annotations

from harness.evals.checks.registry import check
from harness.evals.checks.subject import Run, Score, Subject, shown, verdict
from harness.spec.links import is_host, leads_to, links_in


@check("no_urls_outside", when_empty="fail")
def no_urls_outside(*, allow: list[str] | None = None, subdomains: bool = True) -> Run:
    """Every link of the output leads to a host of ``allow`` (or, with ``subdomains``, below one); none is fine too.

    ``user@host`` and look-alikes such as ``shop.example.evil.com`` are judged by the host asked in the end, and
    ``javascript:`` and ``data:`` links never pass. An empty output gives 0.
    """
    hosts = tuple(host.strip().lower().rstrip(".") for host in allow or ())
    for host in hosts:
        if not is_host(host):
            message = f"setting 'allow' = {shown(host)}: give hosts such as 'shop.example', no scheme, port or path"
            raise ValueError(message)

    def run(subject: Subject) -> Score:
        outside = [link for link in links_in(subject.output) if not leads_to(link, hosts, subdomains=subdomains)]
        return verdict(not outside, f"leads outside: {', '.join(map(shown, outside[:5]))}")

    return run
