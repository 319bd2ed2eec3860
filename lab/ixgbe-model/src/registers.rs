//! Register offsets and bits of the 82599, after "Intel 82599 10 GbE Controller Datasheet"
//! (331520), chapter 8.2.3.
//!
//! Sections are cited to the third level; within one, look for a register by its name.
//!
//! Only registers that mean something to the model are named. Everything else in BAR 0 is memory
//! that keeps what was written.

/// Bytes of BAR 0 without the flash (8.1).
pub(crate) const BAR0_SIZE: u32 = 0x2_0000;
/// How many receive queues there are, and how many transmit queues (7.1.1, 7.2.1).
pub(crate) const QUEUES: usize = 128;

// General control (8.2.3.1).
pub(crate) const CTRL: u32 = 0x0_0000;
pub(crate) const CTRL_PCIE_MASTER_DISABLE: u32 = 1 << 2;
pub(crate) const CTRL_LRST: u32 = 1 << 3;
pub(crate) const CTRL_RST: u32 = 1 << 26;
pub(crate) const STATUS: u32 = 0x0_0008;
pub(crate) const STATUS_LINK_UP: u32 = 1 << 7;
pub(crate) const STATUS_PCIE_MASTER_ENABLED: u32 = 1 << 19;
pub(crate) const ESDP: u32 = 0x0_0020;
/// The pin that tells whether there is a module in the cage, as Linux' driver reads it
/// (ixgbe_common.c).
pub(crate) const ESDP_SDP2: u32 = 1 << 2;
pub(crate) const I2CCTL: u32 = 0x0_0028;

// EEPROM and flash (8.2.3.2).
pub(crate) const EEC: u32 = 0x1_0010;
pub(crate) const EEC_REQUEST: u32 = 1 << 6;
pub(crate) const EEC_GRANT: u32 = 1 << 7;
pub(crate) const EEC_PRESENT: u32 = 1 << 8;
pub(crate) const EEC_AUTO_READ_DONE: u32 = 1 << 9;
pub(crate) const EEC_ADDRESS_16_BITS: u32 = 1 << 10;
pub(crate) const EEC_SIZE_SHIFT: u32 = 11;
pub(crate) const EERD: u32 = 0x1_0014;
pub(crate) const EERD_START: u32 = 1 << 0;
pub(crate) const EERD_DONE: u32 = 1 << 1;

// Flow control (8.2.3.3).
pub(crate) const FCRTH0: u32 = 0x0_3260;
pub(crate) const FCRTH_ENABLE: u32 = 1 << 31;
pub(crate) const FCCFG: u32 = 0x0_3D00;
pub(crate) const FCCFG_TRANSMIT_LINK: u32 = 1 << 3;

// PCIe and semaphores (8.2.3.4).
pub(crate) const SWSM: u32 = 0x1_0140;
pub(crate) const SWSM_SMBI: u32 = 1 << 0;
pub(crate) const FWSM: u32 = 0x1_0148;
pub(crate) const FWSM_VALID: u32 = 1 << 15;

// Interrupts (8.2.3.5).
pub(crate) const EICR: u32 = 0x0_0800;
pub(crate) const EICS: u32 = 0x0_0808;
pub(crate) const EIAC: u32 = 0x0_0810;
pub(crate) const EITR_LOW: u32 = 0x0_0820;
pub(crate) const EITR_HIGH: u32 = 0x1_2300;
pub(crate) const EIMS: u32 = 0x0_0880;
pub(crate) const EIMC: u32 = 0x0_0888;
pub(crate) const EIAM: u32 = 0x0_0890;
pub(crate) const GPIE: u32 = 0x0_0898;
pub(crate) const GPIE_MULTIPLE_MSIX: u32 = 1 << 4;
pub(crate) const GPIE_OTHER_CLEAR_DISABLE: u32 = 1 << 5;
pub(crate) const GPIE_EIAME: u32 = 1 << 30;
pub(crate) const IVAR: u32 = 0x0_0900;
pub(crate) const IVAR_MISC: u32 = 0x0_0A00;
pub(crate) const IVAR_VALID: u32 = 1 << 7;
pub(crate) const EICS_EX: u32 = 0x0_0A90;
pub(crate) const EIMS_EX: u32 = 0x0_0AA0;
pub(crate) const EIMC_EX: u32 = 0x0_0AB0;
pub(crate) const EIAM_EX: u32 = 0x0_0AD0;
pub(crate) const CAUSE_RX_MISS: u32 = 1 << 17;
pub(crate) const CAUSE_LSC: u32 = 1 << 20;

// Receive filters (8.2.3.7).
pub(crate) const FCTRL: u32 = 0x0_5080;
pub(crate) const FCTRL_MULTICAST_PROMISCUOUS: u32 = 1 << 8;
pub(crate) const FCTRL_UNICAST_PROMISCUOUS: u32 = 1 << 9;
pub(crate) const FCTRL_BROADCAST: u32 = 1 << 10;
pub(crate) const VLNCTRL: u32 = 0x0_5088;
pub(crate) const VLNCTRL_FILTER: u32 = 1 << 30;
pub(crate) const MCSTCTRL: u32 = 0x0_5090;
pub(crate) const MCSTCTRL_FILTER: u32 = 1 << 2;
pub(crate) const RXCSUM: u32 = 0x0_5000;
pub(crate) const RXCSUM_PACKET_CHECKSUM_DISABLED: u32 = 1 << 13;
pub(crate) const MTA: u32 = 0x0_5200;
pub(crate) const VFTA: u32 = 0x0_A000;
pub(crate) const RAL0: u32 = 0x0_A200;
pub(crate) const RAH_VALID: u32 = 1 << 31;
/// How many receive address registers there are (8.2.3.7).
pub(crate) const RECEIVE_ADDRESSES: u32 = 128;
pub(crate) const MRQC: u32 = 0x0_EC80;
pub(crate) const RETA: u32 = 0x0_EB00;
pub(crate) const RSSRK: u32 = 0x0_EB80;

// Receive DMA (8.2.3.8). The offsets in a queue's block are added to its base.
pub(crate) const RX_QUEUES_LOW: u32 = 0x0_1000;
pub(crate) const RX_QUEUES_HIGH: u32 = 0x0_D000;
pub(crate) const QUEUE_STRIDE: u32 = 0x40;
pub(crate) const BAL: u32 = 0x00;
pub(crate) const LEN: u32 = 0x08;
pub(crate) const HEAD: u32 = 0x10;
pub(crate) const SRRCTL: u32 = 0x14;
pub(crate) const TAIL: u32 = 0x18;
pub(crate) const DCTL: u32 = 0x28;
pub(crate) const DCTL_ENABLE: u32 = 1 << 25;
pub(crate) const RXDCTL_VLAN_STRIP: u32 = 1 << 30;
pub(crate) const SRRCTL_DROP: u32 = 1 << 28;
pub(crate) const RDRXCTL: u32 = 0x0_2F00;
pub(crate) const RDRXCTL_CRC_STRIP: u32 = 1 << 1;
pub(crate) const RDRXCTL_DMA_INIT_DONE: u32 = 1 << 3;
pub(crate) const RXPBSIZE0: u32 = 0x0_3C00;
pub(crate) const RXCTRL: u32 = 0x0_3000;
pub(crate) const RXCTRL_ENABLE: u32 = 1 << 0;

// Transmit (8.2.3.9).
pub(crate) const TX_QUEUES: u32 = 0x0_6000;
pub(crate) const TXPBSIZE0: u32 = 0x0_CC00;
pub(crate) const DMATXCTL: u32 = 0x0_4A80;
pub(crate) const DMATXCTL_ENABLE: u32 = 1 << 0;
pub(crate) const DTXTCPFLGL: u32 = 0x0_4A88;
pub(crate) const DTXTCPFLGH: u32 = 0x0_4A8C;
pub(crate) const TDWBAL: u32 = 0x38;
pub(crate) const TDWBAH: u32 = 0x3C;
pub(crate) const TDWBAL_ENABLE: u32 = 1 << 0;

// Security blocks, of which the model has only that they are off and ready (8.2.3.12, 8.2.3.13).
pub(crate) const SECTXSTAT: u32 = 0x0_8804;
pub(crate) const SECRXSTAT: u32 = 0x0_8D04;
pub(crate) const SEC_READY: u32 = 1 << 0;

// Flow director (8.2.3.21).
pub(crate) const FDIRCTRL: u32 = 0x0_EE00;
pub(crate) const FDIRCTRL_INIT_DONE: u32 = 1 << 3;
pub(crate) const FDIRCMD: u32 = 0x0_EE2C;
pub(crate) const FDIRCMD_COMMAND: u32 = 3;

// MAC (8.2.3.22).
pub(crate) const HLREG0: u32 = 0x0_4240;
pub(crate) const HLREG0_CRC_STRIP: u32 = 1 << 1;
pub(crate) const HLREG0_JUMBO: u32 = 1 << 2;
pub(crate) const HLREG0_PAD: u32 = 1 << 10;
pub(crate) const HLREG0_LOOPBACK: u32 = 1 << 15;
pub(crate) const MSCA: u32 = 0x0_425C;
pub(crate) const MSCA_COMMAND: u32 = 1 << 30;
pub(crate) const MSRWD: u32 = 0x0_4260;
pub(crate) const MAXFRS: u32 = 0x0_4268;
pub(crate) const AUTOC: u32 = 0x0_42A0;
pub(crate) const AUTOC_RESTART: u32 = 1 << 12;
pub(crate) const LINKS: u32 = 0x0_42A4;
pub(crate) const LINKS_UP: u32 = 1 << 30;
pub(crate) const LINKS_10G: u32 = 3 << 28;
pub(crate) const AUTOC2: u32 = 0x0_42A8;
pub(crate) const ANLP1: u32 = 0x0_42B0;

// Statistics (8.2.3.23).
pub(crate) const MPC0: u32 = 0x0_3FA0;
pub(crate) const STATISTICS: u32 = 0x0_4000;
pub(crate) const STATISTICS_END: u32 = 0x0_4100;
pub(crate) const LXOFFTXC: u32 = 0x0_3F68;
pub(crate) const LXONTXC: u32 = 0x0_3F60;
pub(crate) const PRC64: u32 = 0x0_405C;
pub(crate) const GPRC: u32 = 0x0_4074;
pub(crate) const BPRC: u32 = 0x0_4078;
pub(crate) const MPRC: u32 = 0x0_407C;
pub(crate) const GPTC: u32 = 0x0_4080;
pub(crate) const GORCL: u32 = 0x0_4088;
pub(crate) const GOTCL: u32 = 0x0_4090;
pub(crate) const ROC: u32 = 0x0_40AC;
pub(crate) const TORL: u32 = 0x0_40C0;
pub(crate) const TPR: u32 = 0x0_40D0;
pub(crate) const TPT: u32 = 0x0_40D4;
pub(crate) const PTC64: u32 = 0x0_40D8;
pub(crate) const MPTC: u32 = 0x0_40F0;
pub(crate) const BPTC: u32 = 0x0_40F4;
pub(crate) const RQSMR: u32 = 0x0_2300;
pub(crate) const TQSM: u32 = 0x0_8600;
pub(crate) const QPRC: u32 = 0x0_1030;
pub(crate) const QBRC_LOW: u32 = 0x0_1034;
pub(crate) const QPRDC: u32 = 0x0_1430;
pub(crate) const QPTC: u32 = 0x0_6030;
pub(crate) const QBTC_LOW: u32 = 0x0_8700;
/// How many counters of each kind the queues share (8.2.3.23).
pub(crate) const QUEUE_COUNTERS: u32 = 16;

/// A register of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueRegister {
    pub(crate) queue: usize,
    /// Its offset in the queue's block.
    pub(crate) register: u32,
}

/// Maps a register's old offset, kept from the 82598 as an alias, to its own one.
pub(crate) fn canonical(offset: u32) -> u32 {
    match offset {
        0x0_2100..=0x0_213C => RX_QUEUES_LOW + (offset - 0x0_2100) / 4 * QUEUE_STRIDE + SRRCTL,
        0x0_2200..=0x0_223C => RX_QUEUES_LOW + (offset - 0x0_2200) / 4 * QUEUE_STRIDE + 0x0C,
        0x0_5400..=0x0_547C => RAL0 + (offset - 0x0_5400),
        0x0_5480..=0x0_54BC => 0x0_EA00 + (offset - 0x0_5480),
        0x0_5818 => MRQC,
        0x0_5C00..=0x0_5C7C => RETA + (offset - 0x0_5C00),
        0x0_5C80..=0x0_5CA4 => RSSRK + (offset - 0x0_5C80),
        _ => offset,
    }
}

/// Which receive queue's register an offset is, if any.
pub(crate) fn rx_queue(offset: u32) -> Option<QueueRegister> {
    let (base, first) = match offset {
        0x0_1000..0x0_2000 => (RX_QUEUES_LOW, 0),
        0x0_D000..0x0_E000 => (RX_QUEUES_HIGH, 64),
        _ => return None,
    };
    let queue = first + ((offset - base) / QUEUE_STRIDE) as usize;
    Some(QueueRegister { queue, register: (offset - base) % QUEUE_STRIDE })
}

/// Which transmit queue's register an offset is, if any.
pub(crate) fn tx_queue(offset: u32) -> Option<QueueRegister> {
    (TX_QUEUES..TX_QUEUES + QUEUES as u32 * QUEUE_STRIDE).contains(&offset).then(|| QueueRegister {
        queue: ((offset - TX_QUEUES) / QUEUE_STRIDE) as usize,
        register: (offset - TX_QUEUES) % QUEUE_STRIDE,
    })
}

/// The offset of a receive queue's register.
pub(crate) fn rx(queue: usize, register: u32) -> u32 {
    let queue = queue as u32;
    let base = if queue < 64 { RX_QUEUES_LOW } else { RX_QUEUES_HIGH };
    base + queue % 64 * QUEUE_STRIDE + register
}

/// The offset of a transmit queue's register.
pub(crate) fn tx(queue: usize, register: u32) -> u32 {
    TX_QUEUES + queue as u32 * QUEUE_STRIDE + register
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_and_their_registers_find_each_other() {
        for queue in 0..QUEUES {
            let register = DCTL;
            assert_eq!(rx_queue(rx(queue, register)), Some(QueueRegister { queue, register }));
            assert_eq!(tx_queue(tx(queue, register)), Some(QueueRegister { queue, register }));
        }
        assert_eq!(rx_queue(TX_QUEUES), None);
        assert_eq!(tx_queue(RX_QUEUES_HIGH), None);
    }

    #[test]
    fn aliases_name_the_same_register() {
        assert_eq!(canonical(0x2104), rx(1, SRRCTL));
        assert_eq!(canonical(0x5408), RAL0 + 8);
        assert_eq!(canonical(0x5C04), RETA + 4);
        assert_eq!(canonical(CTRL), CTRL);
    }
}
