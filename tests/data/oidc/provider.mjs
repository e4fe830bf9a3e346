// A certified OpenID Connect provider (npm: oidc-provider) for tests: one client, which gets signed tokens for otelgate.
// Prints `ready http://127.0.0.1:PORT` when it answers.
import http from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const key = (type, options, alg, kid) =>
  ({ ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), alg, kid, use: 'sig' });
const keys = [
  key('rsa', { modulusLength: 2048 }, 'RS256', 'rsa'),
  key('ec', { namedCurve: 'P-256' }, 'ES256', 'ec'),
  key('ed25519', {}, 'EdDSA', 'ed'),
];
const server = http.createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const client = {
    client_id: 'shop', client_secret: 'shop-secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
  };
  const algorithm = (resource) => resource.split(':').pop();
  const provider = new Provider(issuer, {
    clients: [client],
    jwks: { keys },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource) =>
          ({ scope: 'logs traces', audience: 'otelgate', accessTokenFormat: 'jwt', jwt: { sign: { alg: algorithm(resource) } } }),
      },
    },
  });
  server.on('request', provider.callback());
  console.log(`ready ${issuer}`);
});
