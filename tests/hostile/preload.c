/* A library that says where it was loaded: by which program, with which rights, within what. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void tell(const char *path, const char *line) {
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (file >= 0 && write(file, line, strlen(line)) > 0)
        close(file);
}

__attribute__((constructor)) static void loaded(void) {
    char exe[256] = "", line[1024], word[256], rights[512] = "";
    struct rlimit most = {0, 0};
    FILE *status = fopen("/proc/self/status", "r");
    ssize_t length = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (length > 0)
        exe[length] = 0;
    while (status && fgets(word, sizeof word, status))
        if (!strncmp(word, "Cap", 3) || !strncmp(word, "NoNew", 5) || !strncmp(word, "Seccomp:", 8)) {
            word[strcspn(word, "\n")] = 0;
            for (char *tab = word; (tab = strchr(tab, '\t')); )
                *tab = ' ';
            strncat(rights, word, sizeof rights - strlen(rights) - 2);
            strcat(rights, ";");
        }
    if (status)
        fclose(status);
    getrlimit(RLIMIT_NPROC, &most);
    snprintf(line, sizeof line, "LOADED|%s|%d|%d|%ld|%s\n", exe, getuid(), geteuid(), (long)most.rlim_cur,
             rights);
    if (write(2, line, strlen(line)) < 0) /* a folder it may be too weak, or too strong, to enter */
        return;
    if (getenv("MARK_ON_HOST"))
        tell(getenv("MARK_ON_HOST"), line);
}
