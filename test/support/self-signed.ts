/** A certificate for `localhost` that nobody has signed but itself, and its key: worth nothing, and valid for a hundred years. */

export const selfSignedKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgoMG0SIYN73bSMaYv
fnBinQhG7HqysY/bFcWCHBGjDhShRANCAAQGfWwvZsORNSaDF+kyKyp3B4AE5sn8
0tfeeg2WqYWCxIy9pJMUDjRh5aFaX4tkR+WnH7el+nyKY0n5gy9gOztm
-----END PRIVATE KEY-----
`;

export const selfSignedCertificate = `-----BEGIN CERTIFICATE-----
MIIBlDCCATugAwIBAgIUNlOa9LgqEy03h1NLtu11n6SQYiIwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNzIxMDkzN1oYDzIxMjYxMTAz
MjEwOTM3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQGfWwvZsORNSaDF+kyKyp3B4AE5sn80tfeeg2WqYWCxIy9pJMUDjRh
5aFaX4tkR+WnH7el+nyKY0n5gy9gOztmo2kwZzAdBgNVHQ4EFgQU7Yi1qFOJMEk8
zHSmwescT82aDUAwHwYDVR0jBBgwFoAU7Yi1qFOJMEk8zHSmwescT82aDUAwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
RwAwRAIgEjwX8bCLu+utrnQwyXkOfgJmqyV4csjgD81SqDqp8/4CIFdWFO7VTF5T
PA4Iz6Xa8icDYIgdJqOe3lMYqQuUz1Tg
-----END CERTIFICATE-----
`;
