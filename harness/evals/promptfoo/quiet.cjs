// Loaded into promptfoo before anything of its own. With telemetry switched off it still reports that telemetry is
// switched off, with the user's id, to its makers: no name of theirs is resolved here. Every name that is looked up is
// written down beside the results.
const dns = require('node:dns');
const fs = require('node:fs');

const theirs = /(^|\.)promptfoo\.(app|dev)$/i;
const log = process.env.SIGNOFF_LOOKUPS;
const lookup = dns.lookup;

dns.lookup = function (host, options, done) {
  const answer = typeof options === 'function' ? options : done;
  const refused = theirs.test(String(host));
  if (log) fs.appendFileSync(log, `${refused ? 'refused' : 'asked'} ${host}\n`);
  if (refused) {
    const error = Object.assign(new Error(`${host} is not asked`), { code: 'ENOTFOUND', hostname: host });
    process.nextTick(answer, error);
    return {};
  }
  return lookup.apply(this, arguments);
};
