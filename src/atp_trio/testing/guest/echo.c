/* echo PATH: sends back what comes through a virtio-serial port. */
#include "port.h"

int main(int argc, char **argv)
{
    static char buffer[1 << 16];
    struct port port = open_port(argc > 1 ? argv[1] : "");

    for (;;)
        answer(&port, buffer, receive(&port, buffer, sizeof buffer));
}
