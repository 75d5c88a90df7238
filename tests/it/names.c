/* getaddrinfo(3) for names that end in ".test", and for those of Wise's sandbox, from the file NAMES:
 * lines of a name and an address, in the order in which they are answered; in the place of an address, "+5" takes five
 * seconds first. It is preloaded into a proxy whose names a test moves. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static int ends(const char *name, const char *with)
{
    size_t length = name ? strlen(name) : 0, end = strlen(with);
    return length >= end && strcmp(name + length - end, with) == 0;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    lookup *real = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");
    if (!ends(node, ".test") && !ends(node, ".wise-sandbox.com"))
        return real(node, service, hints, found);

    FILE *names = fopen(getenv("NAMES"), "r");
    if (!names)
        return EAI_AGAIN;
    struct addrinfo **end = found;
    char name[256], address[64];
    *found = NULL;
    while (fscanf(names, "%255s %63s", name, address) == 2) {
        if (strcmp(name, node) != 0)
            continue;
        if (address[0] == '+')
            sleep((unsigned)atoi(address));
        else if (real(address, service, hints, end) == 0)
            while (*end)
                end = &(*end)->ai_next;
    }
    fclose(names);
    return *found ? 0 : EAI_NONAME;
}
