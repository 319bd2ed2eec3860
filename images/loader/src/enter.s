# Position-independent, copied to a page below 4 GiB: from long mode at RDI = start info,
# RSI = entry point, to 32-bit protected mode as PVH wants it, with paging off
# (AMD APM volume 2, section 14.7, "Leaving Long Mode").

.set CR0_PG, 1 << 31
.set EFER, 0xc0000080
.set EFER_LME, 1 << 8

.section .text.trampoline, "xr"
.balign 16
.global trampoline_start
trampoline_start:
.code64
    cli
    cld
    sub rsp, 16
    lea rax, [rip + trampoline_gdt]
    mov word ptr [rsp], 3 * 8 - 1
    mov qword ptr [rsp + 2], rax
    lgdt [rsp]
    push 0x08
    lea rax, [rip + 1f]
    push rax
    retfq
1:
.code32
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov eax, cr0
    and eax, ~CR0_PG
    mov cr0, eax
    mov ecx, EFER
    rdmsr
    and eax, ~EFER_LME
    wrmsr
    xor eax, eax
    mov cr4, eax
    mov ebx, edi
    jmp esi

.balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff        # 32-bit code, flat
    .quad 0x00cf93000000ffff        # data, flat
.global trampoline_end
trampoline_end:
.code64
.text
