// A real OpenID Connect provider on a port the kernel chooses. Prints its issuer. People are read anew from the file
// PEOPLE each time: {"login": {"sub", "email", "email_verified", "name"}}; any password is taken.
// Environment: PEOPLE, CLIENT_SECRET, BACK (where people are sent back to).
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { Provider } from 'oidc-provider';

const { PEOPLE, CLIENT_SECRET, BACK } = process.env;
const server = createServer((request, response) => answer(request, response));
let answer;
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'hallmark', client_secret: CLIENT_SECRET, redirect_uris: [BACK],
      grant_types: ['authorization_code'], response_types: ['code'],
    }],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
    pkce: { required: () => true },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    findAccount: (context, login) => {
      const person = JSON.parse(readFileSync(PEOPLE, 'utf8'))[login];
      return person && { accountId: login, claims: () => person };
    },
  });
  provider.on('server_error', (context, error) => console.error(error));
  provider.on('grant.error', (context, error) => console.error(`grant: ${error.message} ${error.error_detail ?? ''}`));
  answer = provider.callback();
  console.log(issuer);
});
