// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEnergyTrading} from "../src/interfaces/IEnergyTrading.sol";
import {OrderBits} from "../src/libraries/OrderBits.sol";
import {Vm} from "./Vm.sol";

contract OrderBitsTest {
    Vm internal constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function testFuzz_every_field_comes_out_as_it_went_in(
        uint32 amount,
        uint32 filled,
        uint32 ticks,
        uint64 expiry,
        bool sells,
        uint8 status,
        uint40 interval,
        uint40 closedAt,
        uint32 paid,
        bool isReturned
    ) public pure {
        OrderBits.Fields memory order = OrderBits.Fields({
            amountWh: uint256(amount) % 1_000_000_000 + 1,
            filledWh: 0,
            price: (uint256(ticks) % 100_001) * 100,
            expiryS: expiry >> 1,
            side: sells ? IEnergyTrading.OrderType.SELL : IEnergyTrading.OrderType.BUY,
            status: IEnergyTrading.OrderStatus(status % 3),
            interval: interval,
            closedAtS: closedAt,
            paidWh: 0,
            isReturned: isReturned
        });
        order.filledWh = filled % (order.amountWh + 1);
        order.paidWh = paid % (order.filledWh + 1);
        uint256 word = OrderBits.pack(order);
        require(word != 0 && word >> 254 == 0, "the bits that nothing needs are zero, an order is not");
        requireSame(OrderBits.unpack(word), order);
    }

    function test_the_largest_of_every_field_leaves_the_others_alone() public pure {
        OrderBits.Fields[10] memory extremes;
        extremes[0].amountWh = 1_000_000_000;
        extremes[1].filledWh = 1_000_000_000;
        extremes[2].price = 10_000_000;
        extremes[3].expiryS = (1 << 63) - 1;
        extremes[4].side = IEnergyTrading.OrderType.SELL;
        extremes[5].status = IEnergyTrading.OrderStatus.CANCELLED;
        extremes[6].interval = (1 << 40) - 1;
        extremes[7].closedAtS = (1 << 40) - 1;
        extremes[8].paidWh = 1_000_000_000;
        extremes[9].isReturned = true;
        uint256 all = 0;
        for (uint256 i = 0; i < 10; i++) {
            uint256 word = OrderBits.pack(extremes[i]);
            require(word != 0 && all & word == 0, "two fields share a bit");
            requireSame(OrderBits.unpack(word), extremes[i]);
            all |= word;
        }
        OrderBits.Fields memory whole = OrderBits.unpack(all);
        require(whole.amountWh == 1_000_000_000 && whole.price == 10_000_000, "a field was cut off");
    }

    function requireSame(OrderBits.Fields memory one, OrderBits.Fields memory other) private pure {
        require(keccak256(abi.encode(one)) == keccak256(abi.encode(other)), "orders differ");
    }
}
